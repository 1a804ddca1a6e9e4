"""The browser of the tests is decided in one place, and a missing one is told in words."""

from __future__ import annotations

import platform

import pytest

from tools import browser


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.delenv("PARLEY_CHROMIUM", raising=False)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_named_browser_is_used(tmp_path, monkeypatch):
    named = program(tmp_path / "my-chromium", "echo Chromium 150")
    monkeypatch.setenv("PARLEY_CHROMIUM", str(named))
    found = browser.find_browser()
    assert (found.executable, found.version) == (named, "Chromium 150")


def test_a_named_browser_that_is_missing_is_not_replaced_by_another(monkeypatch):
    monkeypatch.setenv("PARLEY_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(browser.BrowserMissingError, match="/nowhere/chromium"):
        browser.find_browser()


def test_a_browser_that_does_not_run_says_why(tmp_path, monkeypatch):
    named = program(tmp_path / "chromium", "echo libnss3.so: cannot open >&2; exit 127")
    monkeypatch.setenv("PARLEY_CHROMIUM", str(named))
    with pytest.raises(browser.BrowserMissingError, match="libnss3"):
        browser.find_browser()


def test_a_small_linux_gets_the_libraries_of_the_package(tmp_path, monkeypatch):
    executable = program(tmp_path / "chromium", '[ -n "$LD_LIBRARY_PATH" ] && echo Chromium 150')
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(browser, "_unpacked", lambda: tmp_path)
    found = browser._packaged()
    assert found.executable == executable
    assert found.environment["LD_LIBRARY_PATH"] == str(tmp_path / "lib")


def test_without_a_package_for_this_system_an_installed_one_is_used(tmp_path, monkeypatch):
    program(tmp_path / "google-chrome", "echo Google Chrome 151")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(browser, "MAC_PATHS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find_browser().version == "Google Chrome 151"


def test_no_browser_at_all_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(browser, "MAC_PATHS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(browser.BrowserMissingError, match="PARLEY_CHROMIUM="):
        browser.find_browser()
