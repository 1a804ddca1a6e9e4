"""Generated pages: stale ones are named, and nothing of the code is missing on them."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from parley.user.v1 import user_pb2
from tools import generate_schema_docs, pages
from tools.generate_api_docs import kind, rules


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    return tmp_path


def test_a_check_names_a_stale_page_shows_how_and_writes_nothing(root, capsys):
    page = root / "page.md"
    page.write_text("old\n")
    assert pages.settle({page: "new\n", root / "missing.md": "x\n"}, check=True) == 1
    said = capsys.readouterr().err
    assert "-old" in said
    assert "+new" in said
    assert "missing.md is not that of the code" in said
    assert page.read_text() == "old\n"
    assert not (root / "missing.md").exists()


def test_pages_are_written_once_and_then_current(root, capsys):
    wanted = {root / "sub" / "page.md": "new\n"}
    assert pages.settle(wanted, check=False) == 0
    assert capsys.readouterr().out == "wrote sub/page.md\n"
    assert pages.settle(wanted, check=False) == 0
    assert capsys.readouterr().out == ""
    assert pages.settle(wanted, check=True) == 0


def test_every_column_of_every_table_is_on_the_page():
    page = generate_schema_docs.page()
    for service in ("conversation", "history", "media", "user"):
        assert f"## {service}\n" in page
    for column in ("`password_hash`", "`username_key`", "`handle_hash`"):
        assert f"| {column} |" in page
    assert "references sessions.session_id" in page


FILE = FileDescriptorProto()
user_pb2.DESCRIPTOR.CopyToProto(FILE)


def message(name: str) -> DescriptorProto:
    return next(each for each in FILE.message_type if each.name == name)


def field(of: str, name: str) -> FieldDescriptorProto:
    return next(each for each in message(of).field if each.name == name)


@pytest.mark.parametrize(
    ("of", "name", "said"),
    [
        ("RegisterRequest", "password", "min len 8; max len 256"),
        ("RegisterRequest", "request_id", "uuid"),
        ("UpdateProfileRequest", "account", "required"),
        ("FindEndedSessionsRequest", "session_ids", "max items 1000; items: uuid"),
        ("GetProfileResponse", "account", ""),
    ],
)
def test_the_rules_of_a_field_are_said(of, name, said):
    assert rules(field(of, name)) == said


def test_a_type_of_parleys_is_a_link_and_another_a_name():
    kinds = {
        name: kind(field(of, name), message(of))
        for of, name in (
            ("RegisterResponse", "account"),
            ("Account", "created_at"),
            ("ListSessionsResponse", "sessions"),
            ("RevokeSessionRequest", "all"),
        )
    }
    assert kinds == {
        "account": "[Account](user.md#account)",
        "created_at": "google.protobuf.Timestamp",
        "sessions": "repeated [Session](user.md#session)",
        "all": "bool, one of `target`",
    }
