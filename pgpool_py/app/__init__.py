"""The parts put together: start, reload, drain, stop."""
