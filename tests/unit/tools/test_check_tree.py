"""What must not be committed is found, and what only looks like it is not."""

import pytest

# Written in two parts, or the check would find this very file.
ROOT_HOME = "/ro" + "ot/"
LOCK = "gen/typescript/package-lock.json"


@pytest.fixture
def findings(tool, tmp_path, monkeypatch):
    module = tool("check_tree")
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def check(name: str, content: bytes) -> list[str]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        found: list[str] = module.check(name)
        return found

    return check


def test_a_lock_file_names_no_address(findings):
    assert findings(LOCK, b'{"resolved": "https://registry.example/x.tgz"}')
    assert findings("requirements/dev.txt", b"--index-url http://mirror.example/simple")
    assert not findings(LOCK, b'{"integrity": "sha512-abc=="}')


def test_where_authors_take_donations_is_the_same_in_everybodys_lock_file(findings):
    assert not findings(LOCK, b'  "funding": {\n    "url": "https://example.org/sponsor"\n  }')
    assert not findings(
        LOCK, b'  "funding": [\n    "https://example.org/a",\n    "https://b.org/"\n  ]'
    )
    assert findings(LOCK, b'  "resolved": "https://registry.example/x.tgz", "url": "https://x/"')


def test_an_address_elsewhere_is_none_of_its_business(findings):
    assert not findings("README.md", b"See https://example.org/.")


@pytest.mark.parametrize("before", ["", " ", '"', "(", "=", "`"])
def test_a_path_of_one_machine_is_found(findings, before):
    assert findings("a.py", f"x{before} {before}{ROOT_HOME}data".encode())


@pytest.mark.parametrize(
    "text", ["protos/root/x", "https://example.org" + ROOT_HOME + "x", "/root"]
)
def test_what_only_looks_like_one_is_not(findings, text):
    assert not findings("a.py", text.encode())


def test_a_large_file_is_found(findings, tool):
    assert findings("weights.bin", b"\0" * (tool("check_tree").LARGEST_BYTES + 1))
    assert not findings("speech.wav", b"\0" * tool("check_tree").LARGEST_BYTES)


@pytest.mark.parametrize("name", ["uv.lock", "deploy/server.pem", ".env"])
def test_files_that_hold_secrets_or_addresses_by_kind_are_found(findings, name):
    assert findings(name, b"x")
