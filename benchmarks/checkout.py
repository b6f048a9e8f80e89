"""Imported first, for its effect: pgpool_py and pgwire are found in the checkout this file lies in."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(ROOT), str(ROOT / "protocol")]
