"""A licence that Parley cannot live with is told, with the package that has it."""

import pytest


def lock(**package: object) -> dict[str, object]:
    return {"packages": {"": {"name": "ours"}, "node_modules/a/node_modules/@b/c": package}}


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0", "SEE LICENSE IN x", "", "MPL-2.0"])
def test_what_ships_in_the_page_is_permissive(tool, licence):
    (finding,) = tool("check_licences").unfit(lock(license=licence, version="1.2.3"))
    assert "@b/c 1.2.3" in finding


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND GPL-2.0"])
def test_no_tool_is_strongly_copyleft(tool, licence):
    assert tool("check_licences").unfit(lock(license=licence, dev=True))


@pytest.mark.parametrize("licence", ["MIT", "(MIT OR GPL-3.0)", "MIT AND ISC", "Apache-2.0"])
def test_one_permissive_way_is_enough(tool, licence):
    assert not tool("check_licences").unfit(lock(license=licence))


def test_a_tool_that_is_not_passed_on_may_be_weakly_copyleft(tool):
    assert not tool("check_licences").unfit(lock(license="MPL-2.0", dev=True))


def test_the_lock_files_of_this_checkout_are_found(tool):
    names = {path.parent.name for path in tool("check_licences").lock_files()}
    assert {"typescript", "web", "browser"} <= names
