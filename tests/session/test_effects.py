"""Which custom settings a text names that may do anything, and what makes a name that nobody can read."""

from __future__ import annotations

import pytest

from pgpool_py.session import code_facts, effects, flags, look, mentions, reach

SPELLINGS = {
    b"set app.tenant = 1": b"app.tenant",
    b'set "app"."tenant" = 1': b"app.tenant",
    b"SET LOCAL app . tenant TO 1": b"app.tenant",
    b'set session "app" /* why */ . -- not\n tenant = 1': b"app.tenant",
    b"set/**/app./**/tenant.id = 1": b"app.tenant.id",
    b'set app."te nant" = 1': b"app.te nant",
    b'set app."a""b" = 1': b'app.a"b',
    b"perform set_config('app.tenant', '1', false)": b"app.tenant",
    b"perform SET_CONFIG ( 'app.te-nant' , '1', false)": b"app.te-nant",
    b"execute 'select set_config(''app.tenant'', ''1'', false)'": b"app.tenant",
    b"perform keeps('App.Tenant', '1')": b"app.tenant",
    b"execute $run$reset app.tenant$run$": b"app.tenant",
    b"execute $run$app.tenant$run$": b"app.tenant",
}
MADE = {
    "in parts": b"perform set_config('app.' || part, '1', false)",
    "escaped": b'set U&"\\0061pp".tenant = 1',
    "behind a nested comment": b"set /* /* */ */ app.tenant = 1",
    "behind a long comment": b"set -- " + b"x" * 400 + b"\n app.tenant = 1",
    "in another alphabet": 'set app."имя" = 1'.encode(),
    "in another alphabet, by set_config": "perform set_config('app.имя', '1', false)".encode(),
}
NOT_MADE = (
    b"update t set /* the new one */ a = 1, b = 2",
    b"update t set -- the new one\n a = 1",
    b"update t set a /* was 2 */ = 1",
    "update t set имя = 1".encode(),
    b"execute 'select 1 from ' || quote_ident(name)",
)


def unknowable(text: bytes) -> bool:
    """Whether a text that may run anything makes names that nobody knows, by its words or by the code that it brings."""
    brought = reach.reach(text, (), code_facts.NONE_GIVEN)
    return effects.effects(text, flags.UNKNOWN).unknowable or bool(brought.bits & flags.DYNAMIC)


@pytest.mark.parametrize("text", SPELLINGS)
def test_names_are_found_however_they_are_spelled(text: bytes) -> None:
    """In a DO, or bound to code, that nobody reads: the name as PostgreSQL knows it."""
    found = effects.effects(b"do $$ begin " + text + b"; end $$", flags.UNKNOWN)
    assert found.whole
    assert SPELLINGS[text] in found.candidates | found.mentioned
    assert not found.unknowable


def test_words_with_dots_are_asked_for_however_many_there_are() -> None:
    """Within reason: columns, and hosts in data, hide no names."""
    hosts = [b"host%d.example.org" % i for i in range(mentions.MOST_MENTIONED - 1)]
    found = effects.effects(b"select run('" + b" ".join(hosts) + b"')", flags.UNKNOWN)
    assert found.mentioned.issuperset(hosts)
    assert not found.unknowable
    question = look.Question()
    question.mention(found.mentioned)
    assert question.candidates.issuperset(hosts)
    assert not question.unread


def test_more_words_with_dots_than_are_asked_for_are_settings_unseen() -> None:
    """In one text, or in all of a transaction; what SET has is always asked for."""
    hosts = b" ".join(b"host%d.example.org" % i for i in range(mentions.MOST_MENTIONED))
    found = effects.effects(b"do 'begin perform ''" + hosts + b"''; set app.tenant = 1; end'", flags.UNKNOWN)
    assert found.candidates == {b"app.tenant"}
    assert not found.unknowable
    one, other = look.Question(), look.Question()
    one.mention(found.mentioned)
    assert one.unread
    for i in range(mentions.MOST_MENTIONED):
        other.mention(frozenset((b"host.n%d" % i,)))
    other.mention(frozenset((b"host.n0",)))
    assert not other.unread
    other.mention(frozenset((b"host.n",)))
    assert other.unread


@pytest.mark.parametrize("text", MADE.values(), ids=MADE)
def test_code_that_makes_names_is_known(text: bytes) -> None:
    """What cannot be read is said so: its client keeps the server."""
    assert unknowable(b"do $$ begin " + text + b"; end $$")


@pytest.mark.parametrize("text", NOT_MADE)
def test_ordinary_code_makes_no_names(text: bytes) -> None:
    """Or much of what is written in PL/pgSQL would keep servers."""
    assert not unknowable(b"do $$ begin " + text + b"; end $$")


@pytest.mark.parametrize(
    "piece",
    [
        b"joe@example.com', 'set me up', 'execute the plan', 'Settings', 'http://do.example.org/",
        b"(1.5, 2.5, 'a.b.c'), (3.5, 4.5, 'reset, offset')",
    ],
)
def test_data_names_nothing(piece: bytes) -> None:
    """Words with dots, and words that are commands elsewhere, are data in a long INSERT."""
    assert mentions.amid_data(piece, frozenset((b"maker",)), frozenset((b"run",))) == (frozenset(), 0)


@pytest.mark.parametrize(
    ("piece", "names", "bits"),
    [
        (b"'); select set_config('app.tenant', '1', false)", {b"app.tenant"}, 0),
        (b"'); SET LOCAL app.tenant = 1", {b"app.tenant"}, 0),
        (b"'); select set_config(name, '1', false) from t", set(), flags.DYNAMIC),
        (b"'); do $$ begin execute command; end $$", set(), flags.DYNAMIC),
        (b"'); select Maker('x')", set(), flags.DYNAMIC),
        (b"'); select makers('x')", set(), 0),
    ],
)
def test_what_stands_amid_data_is_found(piece: bytes, names: set[bytes], bits: int) -> None:
    """Names behind or between data; code that makes them; and functions of the database that do."""
    assert mentions.amid_data(piece, frozenset((b"maker",)), frozenset((b"run",))) == (frozenset(names), bits)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"SET LOCAL DateStyle = 'German'", {b"datestyle"}),
        (b" set local app.tenant to 'one';", {b"app.tenant"}),
        (b"set local role nobody", {b"role"}),
        (b"set local time zone 'UTC'", {b"timezone"}),
        (b"set local schema 'other'", {b"search_path"}),
        (b"set local session authorization nobody", {b"session_authorization", b"role"}),
        (b"set local session_authorization = nobody", {b"session_authorization", b"role"}),
        (b"set local work_mem = '4MB'; set local time zone 'UTC'", {b"work_mem", b"timezone"}),
        (b"set transaction read only", set()),
        (b"set local role . tenant = 1", {b"role.tenant"}),
        (b"set local characteristics.x = 1", {b"characteristics.x"}),
    ],
)
def test_settings_of_a_transaction_are_known_by_name(text: bytes, names: set[bytes]) -> None:
    """Whatever way SET LOCAL has of spelling them."""
    assert effects.local_names(text, flags.TRANSACTION_LOCAL) == names


def test_a_setting_named_by_the_list_of_settings_is_known() -> None:
    """pg_dump sets one only where there is such a setting."""
    text = b"SELECT set_config(name, 'view', %s) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'"
    lasting = effects.effects(text % b"false", flags.SETTINGS)
    assert lasting.names == {b"restrict_nonsystem_relation_kind"}
    assert not lasting.whole
    assert effects.effects(text % b"false", flags.OPAQUE).unknowable is False
    assert effects.effects(text % b"false" + b" or true", flags.SETTINGS).unknowable


def test_a_cast_that_changes_a_name_is_not_read() -> None:
    """Blanks at the end go with bpchar, what is beyond 63 bytes with name."""
    assert effects.effects(b"select set_config('app.x  '::bpchar, 'v', false)", flags.SETTINGS).whole
    assert effects.effects(b"select set_config('app.x'::text, 'v', false)", flags.SETTINGS).names == {b"app.x"}
