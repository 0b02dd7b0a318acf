"""Settings of a run: written, by rule or plain; the run records what it used, and keeps it when it goes on."""

import os
import platform

import pytest
import torch

import understudy
from understudy import UserError
from understudy import recipe as recipes
from understudy.config import hardware
from understudy.config.settings import Settings

RECIPE = """
[data]
name = "folder"
root = "pictures"
size = 8
[student]
network = "smallnets:student"
[train]
epochs = 1
batch = 10
[methods.alone]
"""
LOW = Settings(precision="bfloat16")


@pytest.fixture
def native(monkeypatch):
    """A machine that computes in bfloat16."""
    monkeypatch.setattr(hardware, "computes_in_bfloat16", lambda device: True)


@pytest.mark.parametrize(
    ("text", "how", "settings"),
    [
        ("", None, LOW),
        ('settings = "auto"', None, LOW),
        ('settings = "plain"', None, Settings()),
        ("", "plain", Settings()),
        ('settings = "auto"', "plain", Settings()),
        ('settings = "plain"', "auto", LOW),
        ("settings = { threads = 3 }", None, Settings(threads=3)),
        ("settings = { threads = 3 }", "auto", Settings(precision="bfloat16", threads=3)),
        ('settings = { precision = "float32" }', "auto", Settings()),
        ("settings = { channels_last = false }", "auto", Settings(precision="bfloat16", channels_last=False)),
    ],
)
def test_what_a_recipe_leaves_open_follows_from_the_hardware(native, text, how, settings):
    recipe = recipes.parse(f"{text}\n{RECIPE}", settings=how)
    assert recipe.settings == settings
    assert recipes.parse(recipes.write(recipe)) == recipe


def test_where_nothing_computes_in_bfloat16_it_is_float32():
    assert recipes.parse(RECIPE).settings == Settings()


def test_a_run_that_goes_on_keeps_what_it_began_with_on_any_machine(native):
    began = Settings(channels_last=False, threads=5)
    assert recipes.parse(RECIPE, begun=began).settings == began
    assert recipes.parse(f'settings = "plain"\n{RECIPE}', begun=began).settings == Settings()
    assert recipes.parse(f"settings = {{ threads = 1 }}\n{RECIPE}", begun=began).settings == Settings(threads=1)


def test_settings_of_another_name_are_a_mistake():
    with pytest.raises(UserError, match="'auto' or 'plain', not 'fast'"):
        recipes.parse(f'settings = "fast"\n{RECIPE}')
    with pytest.raises(UserError, match=r"settings\.auto: unknown key"):
        recipes.parse(f'settings = {{ auto = ["threads"] }}\n{RECIPE}')


def test_the_rule_is_a_function_of_the_hardware_and_what_is_given_wins(native, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 6)
    torch.set_num_threads(4)
    assert Settings.by_rule(device="cpu") == Settings("cpu", "bfloat16", threads=4)
    assert Settings.by_rule(device="cpu", precision="float32", threads=2, channels_last=False) == Settings(
        "cpu", threads=2, channels_last=False
    )
    assert Settings.by_rule(device="meta").channels_last is False
    with pytest.raises(UserError, match="abacus"):
        Settings.by_rule(device="abacus")


@pytest.mark.parametrize(
    ("workers", "cores", "pytorch", "threads"), [(1, 8, 4, 4), (2, 8, 8, 4), (3, 8, 8, 2), (9, 8, 8, 1), (2, 8, 1, 1)]
)
def test_threads_are_the_cores_divided_by_the_workers_and_no_more_than_pytorch_would_take(
    monkeypatch, workers, cores, pytorch, threads
):
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: pytorch)
    assert hardware.threads_each(workers) == threads


def test_python_follows_the_rule_by_default_and_plain_settings_stay_plain(small, native, tmp_path):
    teacher, student = small.networks()
    options = {"epochs": 2, "accept_weak": True}
    understudy.distill(teacher, student, small.data(), out=tmp_path / "rule", **options)
    understudy.distill(*small.networks(), small.data(), settings=Settings(), out=tmp_path / "plain", **options)
    assert 'precision = "bfloat16"' in (tmp_path / "rule/recipe.toml").read_text()
    assert 'precision = "float32"' in (tmp_path / "plain/recipe.toml").read_text()


def test_freed_memory_is_kept_unless_malloc_is_set_by_hand(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    keep = hardware.keep_freed_memory.__wrapped__  # not the answer of before
    assert keep() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep()
