"""What every setting carries beside its value: whether a reload changes it, whether it is acted on, ...

Knows the metadata, not the settings themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Meta:
    """The facts about one setting that are neither its type nor its default."""

    changeable: bool = True
    """Whether a reload changes it; otherwise a new start is needed."""
    effective: bool = True
    """Whether this version acts on it; otherwise it is only checked, and start-up warns when it is set."""
    refused: frozenset[str] = field(default_factory=frozenset)
    """Values this version cannot honour and must not ignore, since ignoring them would weaken security."""
    own: bool = False
    """Not a setting of PgBouncer."""
    recycles: bool = False
    """Whether a change makes existing server connections unusable."""
    moot: str = ""
    """Why the setting has no meaning here; it is accepted, and start-up says so when it is set."""


def setting(
    default: Any,
    description: str,
    *,
    changeable: bool = True,
    effective: bool = True,
    refused: tuple[str, ...] = (),
    own: bool = False,
    recycles: bool = False,
    alias: str | None = None,
    moot: str = "",
) -> Any:
    """A model field with its default, its text in the documentation and its `Meta`."""
    meta = Meta(changeable, effective and not moot, frozenset(refused), own, recycles, moot)
    # "alias" is a second name in the file, not pydantic's: the model and the messages keep the one true name.
    extra: dict[str, Any] = {"meta": meta, "alias": alias}
    return Field(default=default, description=description, json_schema_extra=extra)


class Settings(BaseModel):
    """A frozen group of settings; `section` is where they stand in the file, `group` their heading in the"
    " manual."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, arbitrary_types_allowed=True)

    section: ClassVar[str] = ""
    group: ClassVar[str] = ""


def setting_fields(model: type[Settings]) -> Mapping[str, FieldInfo]:
    """The fields of *model* that are settings (and not, say, the entry's name)."""
    return {name: info for name, info in model.model_fields.items() if _extra(info).get("meta") is not None}


def meta_of(model: type[Settings], name: str) -> Meta:
    """The metadata of setting *name*."""
    meta = _extra(model.model_fields[name])["meta"]
    assert isinstance(meta, Meta)
    return meta


def aliases(model: type[Settings]) -> dict[str, str]:
    """Second names accepted in the file, each with the true one."""
    return {_extra(info)["alias"]: name for name, info in setting_fields(model).items() if _extra(info)["alias"]}


def set_to_other_than_default(settings: Settings) -> Iterator[str]:
    """The names of the settings whose value is not the default."""
    for name, info in setting_fields(type(settings)).items():
        if getattr(settings, name) != info.default:
            yield name


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
