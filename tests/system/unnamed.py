"""Questions for custom settings whose names do not stand in them: whoever asks has not touched these."""


def asks(name: str) -> str:
    """What the setting's value is: "undefined" where there never was such a setting."""
    return f"select coalesce(current_setting('{name[:1]}' || '{name[1:3]}' || '{name[3:]}', true), 'undefined')"
