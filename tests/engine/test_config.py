"""Config files: what they may hold, how they are overridden, and the sentence that refuses a mistyped name."""

import ast
from pathlib import Path

import pytest
from torch import nn

from bevkit.engine.config import load_config
from bevkit.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@MODELS.register_module()
class ConfigTestPart(nn.Module):
    """A part that a config may name."""

    def __init__(self, channels: int, future: int = 4, grid: object = None) -> None:
        super().__init__()


BASE = """
past = 3
model = dict(type="ConfigTestPart", channels=past, future=2, grid=dict(x=(-1.0, 1.0, 1.0), y=(-1.0, 1.0, 1.0)))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(type="NuScenesClips", dataroot="d", version="v",
                        images=dict(size=(4, 6))))
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=5))
train_cfg = dict(by_epoch=True, max_epochs=2)
param_scheduler = [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=9, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, priority="LOW"))
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork"))
randomness = dict(seed=0)
_helper = 1
"""


@pytest.fixture
def config(tmp_path: Path):
    """Writes base.py and a child with the given text, and returns the child's path."""
    def write(text: str = "", base: str = BASE) -> Path:
        (tmp_path / "base.py").write_text(base)
        child = tmp_path / "child.py"
        child.write_text(f'_base_ = ["base.py"]\n{text}\n')
        return child
    return write


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.py")), ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_every_config_of_the_house_is_accepted(path: Path) -> None:
    load_config(path)


def commands_of(path: Path) -> list[list[str]]:
    """The words of the commands with ``--set`` in a config's docstring."""
    text = (ast.get_docstring(ast.parse(path.read_text())) or "").replace("\\\n", " ")
    lines = [line.split(" # ")[0] for line in text.splitlines() if line.strip().startswith("bevkit")]
    return [line.split() for line in lines if "--set" in line]


@pytest.mark.parametrize("words", [
    pytest.param(words, id=f"{path.relative_to(CONFIGS).as_posix()}-{index}")
    for path in sorted(CONFIGS.rglob("*.py")) for index, words in enumerate(commands_of(path))])
def test_the_commands_of_a_docstring_set_what_there_is(words: list[str]) -> None:
    named = CONFIGS.parent / next(word for word in words if word.endswith(".py"))
    changed = load_config(named, words[words.index("--set") + 1:])
    assert changed.to_dict() != load_config(named).to_dict()


def test_overrides_are_literals_or_words(config) -> None:
    cfg = load_config(config(), ["model.future=6", "train_dataloader.dataset.version=v1.0-mini", "resume=true",
                                 "model.grid.x=(-2, 2, 1)", "load_from=None", "param_scheduler.0.end=20"])
    assert cfg.model.future == 6 and cfg.train_dataloader.dataset.version == "v1.0-mini"
    assert tuple(cfg.model.grid.x) == (-2, 2, 1) and cfg.resume is True and cfg.load_from is None
    assert cfg.param_scheduler[0].end == 20


def test_an_override_may_add_a_section(config) -> None:
    cfg = load_config(config(), ["auto_scale_lr.enable=True", "auto_scale_lr.base_batch_size=8"])
    assert cfg.auto_scale_lr.base_batch_size == 8


def test_a_value_may_hold_an_equals_sign(config) -> None:
    assert load_config(config(), ["work_dir=a=b"]).work_dir == "a=b"


@pytest.mark.parametrize(("text", "sentence"), [
    ("model = dict(futur=6)", 'model has no option "futur"; did you mean "future"?'),
    ("model = dict(zzz=6)", 'model has no option "zzz"; it has channels, future, grid'),
    ("model = dict(grid=dict(w=6))", 'model.grid has no option "w"; it has x, y, z'),
    ("model = dict(type='ConfigTestPar')",
     'model has the unknown type "ConfigTestPar"; did you mean "ConfigTestPart"?'),
    ("train_dataloader = dict(batch_sise=6)",
     'train_dataloader has no option "batch_sise"; did you mean "batch_size"?'),
    ("train_dataloader = dict(dataset=dict(verison='x'))",
     'train_dataloader.dataset has no option "verison"; did you mean "version"?'),
    ("train_dataloader = dict(dataset=dict(images=dict(sice=3)))",
     'train_dataloader.dataset.images has no option "sice"; did you mean "size"?'),
    ("optim_wrapper = dict(acumulative_counts=2)",
     'optim_wrapper has no option "acumulative_counts"; did you mean "accumulative_counts"?'),
    ("optim_wrapper = dict(optimizer=dict(weight_deccay=2))",
     'optim_wrapper.optimizer has no option "weight_deccay"; did you mean "weight_decay"?'),
    ("train_cfg = dict(max_epoch=2)", 'train_cfg has no option "max_epoch"; did you mean "max_epochs"?'),
    ("param_scheduler = [dict(type='LinearLR', start_facto=0.1)]",
     'param_scheduler.0 has no option "start_facto"; did you mean "start_factor"?'),
    ("default_hooks = dict(logger=dict(type='LoggerHook', intervall=2))",
     'default_hooks.logger has no option "intervall"; did you mean "interval"?'),
    ("env_cfg = dict(cudnn_benchmrk=True)", 'env_cfg has no option "cudnn_benchmrk"; did you mean "cudnn_benchmark"?'),
    ("randomness = dict(sed=1)", 'randomness has no option "sed"; did you mean "seed"?'),
])
def test_an_unknown_option_is_refused_with_the_nearest_name(config, text: str, sentence: str) -> None:
    path = config(text)
    with pytest.raises(ValueError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {sentence}"


@pytest.mark.parametrize(("text", "sentence"), [
    ("train_dataloder = dict()", 'nothing reads "train_dataloder" here; did you mean "train_dataloader"?'),
    # the trap: the base has used its own value already
    ("past = 5", 'nothing reads "past" here; set the option itself, such as model.head.future'),
    ("a, epochs_ = 1, 2", 'nothing reads "a" here; set the option itself, such as model.head.future'),
])
def test_a_name_that_nothing_reads_is_refused(config, text: str, sentence: str) -> None:
    path = config(text)
    with pytest.raises(ValueError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}:2: {sentence}"


def test_variables_that_a_file_uses_itself_are_its_own_affair(config) -> None:
    cfg = load_config(config("steps = 7\nmodel = dict(future=steps)\n_unused = 1"))
    assert cfg.model.future == 7


@pytest.mark.parametrize(("override", "sentence"), [
    ("model.futur=6", 'model has no option "futur"; did you mean "future"?'),
    ("model.grid.w=6", 'model.grid has no option "w"; it has x, y, z'),
    ("modle.future=6", 'nothing reads "modle" once the file is read; did you mean "model"?'),
    ("past=5", 'nothing reads "past" once the file is read; set the option itself, such as model.head.future'),
    ("model.future", '--set: expected KEY=VALUE, got "model.future"'),
    ("=3", '--set: expected KEY=VALUE, got "=3"'),
    ("param_scheduler.7.end=2", "--set param_scheduler.7.end: no such place in the config"),
    ("model.future.x=2", "--set model.future.x: no such place in the config"),
])
def test_a_wrong_override_is_refused(config, override: str, sentence: str) -> None:
    path = config()
    with pytest.raises(ValueError) as caught:
        load_config(path, [override])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_other_projects_classes_are_their_own_affair(config) -> None:
    load_config(config("default_hooks = dict(other=dict(type='mmdet3d.SomeHook', anything=1))"))


def test_a_missing_config_names_its_neighbour(config) -> None:
    path = config()
    with pytest.raises(FileNotFoundError, match=r'chidl.py: no such config file; did you mean "child.py"\?'):
        load_config(path.with_name("chidl.py"))
    with pytest.raises(FileNotFoundError, match="no such config file$"):
        load_config(path.parent / "nowhere" / "x.py")


@pytest.mark.parametrize(("text", "sentence"), [
    ("model = dict(", r"child.py:\d+: .*; a config is a Python file of plain dicts"),
    ("model = dict(future=unknown)", r"child.py: cannot be read as a config \(NameError: .*unknown"),
    ("model = 1 / 0", r"child.py: cannot be read as a config \(ZeroDivisionError"),
])
def test_a_file_that_is_no_config_is_refused(config, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_config(config(text))


def test_a_missing_base_is_named(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text('_base_ = ["nowhere.py"]\n')
    with pytest.raises(ValueError, match="child.py: cannot be read as a config .*nowhere.py"):
        load_config(tmp_path / "child.py")
