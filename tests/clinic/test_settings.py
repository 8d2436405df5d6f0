from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.clinic.settings import Mail, Rule, Settings, Webhook, data_folder, read_settings
from dermsentry.errors import InputError

WHOLE = """
readers = 2
link = "https://clinic.example"
escalate_after_hours = 4

[[rules]]
name = "suspected"
tiers = ["alert"]

[[rules]]
name = "late"
melanoma = 0.1
after_hours = 48

[mail]
to = ["a@clinic.example"]
host = "smtp.clinic.example"
port = 587
starttls = true

[[webhooks]]
url = "https://x.example/in"
"""


def read(folder: Path, text: str) -> Settings:
    (folder / "clinic.toml").write_text(text, encoding="utf-8")
    return read_settings(folder)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings() == read(tmp_path, "")


def test_nothing_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAIL", "LINK", "WATCH", "READERS", "DERMSENTRY_READERS"):
        monkeypatch.setenv(name, "2")
    assert read_settings(tmp_path).model_dump() == Settings().model_dump()
    assert Settings().readers == 1


def test_what_is_set_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == Settings(
        readers=2,
        link="https://clinic.example",
        escalate_after_hours=4.0,
        rules=(Rule(name="suspected", tiers=("alert",)), Rule(name="late", melanoma=0.1, after_hours=48.0)),
        mail=Mail(to=("a@clinic.example",), host="smtp.clinic.example", port=587, starttls=True),
        webhooks=(Webhook(url="https://x.example/in"),),
    )


OPENID = "[openid]\nclient_id = 'x'\nroles = {uploader = ['staff']}\n"


@pytest.mark.parametrize(
    "issuer", ["https://id.example/realms/x", "http://127.0.0.1:8081", "http://localhost/"]
)
def test_a_provider_is_read_and_gives_the_highest_role_of_a_persons_groups(
    tmp_path: Path, issuer: str
) -> None:
    roles = "[openid.roles]\nuploader = ['staff']\nadministrator = ['it', 'heads']"
    settings = read(tmp_path, f"[openid]\nissuer = '{issuer}'\nclient_id = 'x'\n{roles}")
    openid = settings.openid
    assert openid.issuer == issuer
    assert openid.role_of(["staff", "others"]) == "uploader"
    assert openid.role_of(["heads", "staff"]) == "administrator"
    assert openid.role_of([]) is None
    assert openid.role_of(["IT"]) is None


@pytest.mark.parametrize(
    "text",
    [
        "readers = 3",
        "readers = true",
        "readers = 'two'",
        "reader = 2",
        "rules = 5",
        "rules = [1]",
        "rules = {name = 'x'}",
        "[[rules]]\ntiers = ['alert']",
        "[[rules]]\nname = ''",
        "[[rules]]\nname = 'x'\ntiers = ['alrt']",
        "[[rules]]\nname = 'x'\ntiers = 'alert'",
        "[[rules]]\nname = 'x'\nmelanoma = 7",
        "[[rules]]\nname = 'x'\nmelanoma = nan",
        "[[rules]]\nname = 'x'\nafter_hours = -1",
        "[[rules]]\nname = 'x'\nafter_hours = inf",
        f"[[rules]]\nname = '{'x' * 81}'",
        "[[rules]]\nname = 'x'\n[[rules]]\nname = 'x'",
        "[[rules]]\nname = 'not assessed'",
        "refused_after_hours = -1",
        "escalate_after_hours = 0",
        "escalate_after_hours = nan",
        "mail = 5",
        "mail = []",
        "[mail]\nport = 0",
        "[mail]\nto = ['nobody']",
        "[mail]\nto = ['a,b@clinic.example']",
        "[mail]\nto = ['anna<a@clinic.example']",
        "[mail]\nsender = 'a@b\\nBcc: c@d'",
        "[[webhooks]]\nurl = 'file:///etc/passwd'",
        "link = 'javascript:alert(1)'",
        "link = 'http://[::1'",
        "link = 'http://a:99999999'",
        "[[webhooks]]\nurl = 'http://['",
        'watch = "a\\u0000b"',
        '[mail]\nhost = "a\\nb"',
        '[dicom]\ncallers = ["A\\n"]',
        "[dicom]\nport = 65536",
        "[dicom]\nport = -1",
        "second_factor = ['king']",
        "second_factor = 'administrator'",
        "[openid]\nissuer = 'https://id.example'",
        "[openid]\nissuer = 'https://id.example'\nclient_id = 'x'",
        f"{OPENID}issuer = 'http://id.example'",
        f"{OPENID}issuer = 'https://id.example?x'",
        f"{OPENID}issuer = 'id.example'",
        f"{OPENID}issuer = 'https://id.example'\nscopes = ['profile']",
        f"{OPENID}issuer = 'https://id.example'\nname = ''",
        "not TOML",
    ],
)
def test_what_could_never_work_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as told:
        read(tmp_path, text)
    assert "clinic.toml" in str(told.value)
    assert "expected" in str(told.value).casefold()
    assert "\n" not in str(told.value).replace("\\n", "")


def test_a_table_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        read(tmp_path, "[webhooks]\nurl = 'https://chat.example/a-secret-address'")
    assert "received a table; expected tables, each under [[webhooks]]" in str(told.value)
    assert "a-secret-address" not in str(told.value)


VALUES: Any = st.recursive(
    st.integers(-3, 9) | st.booleans() | st.sampled_from(["", "alert", "a@b", "https://x.example"]),
    lambda below: (
        st.lists(below, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "tiers", "url", "to", "port", "melanoma"]), below, max_size=3
        )
    ),
    max_leaves=6,
)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {toml(item)}' for name, item in value.items())}}}"
    return repr(value)


@given(
    given_=st.dictionaries(
        st.sampled_from(["readers", "rules", "mail", "webhooks", "link", "watch", "x"]), VALUES, max_size=4
    )
)
def test_any_settings_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, given_: Any) -> None:
    folder = tmp_path_factory.mktemp("settings")
    try:
        found = read(folder, "\n".join(f"{name} = {toml(value)}" for name, value in given_.items()))
    except InputError:
        return
    assert isinstance(found.mail, Mail)
    assert all(isinstance(rule, Rule) for rule in found.rules)


def test_the_data_folder_is_where_the_user_or_the_desktop_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMSENTRY_HOME", "/srv/clinic")
    assert data_folder() == Path("/srv/clinic")
    monkeypatch.delenv("DERMSENTRY_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_folder() == Path("/data/dermsentry")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert data_folder() == Path.home() / ".local" / "share" / "dermsentry"
