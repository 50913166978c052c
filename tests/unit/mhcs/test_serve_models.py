"""``mhcs serve``: the choice of the model from folders, variables and arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from mhcs.serve import Plan
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    ModuleLoadError,
)
from serve_plans import (
    ADDRESS,
    ENGINES,
    PREFIX,
    START,
    another_user,
    command,
    hide,
    plan,
    put_on_path,
    words_of,
)
from serve_plans import write_package as write_engine

#: Contents of a model folder that are not a model.
NOT_MODELS: Final = (
    *("code/", "adapters/", "lib/", "requirements/", "lost+found/", "__pycache__/"),
    *(".DS_Store", "._config.json", "README.md", "config.yaml", "requirements.txt"),
    *("chat_template.jinja", "model.py", "tokenizer.json", "generation_config.json"),
    *("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"),
    *("model.safetensors.index.json", "model.tar.gz", "config.json/"),
)
MODELS: Final = (
    *("config.json", "params.json", "model.gguf", "model.safetensors", "a.bin"),
    *("consolidated.00.pth", "pytorch_model.pt", "rank0.engine"),
)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "vllm")


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    name: str = request.param
    install(monkeypatch, tmp_path, name)
    return name


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    """Install an engine whose sources mention every option that these tests use."""
    options = ("config", "enable-lora", "max-cpu-loras", "max-loras", "port")
    write_engine(folder / "site", name, " ".join(f'"--{option}"' for option in options))
    put_on_path(monkeypatch, folder / "site")
    hide(monkeypatch, *{*ENGINES} - {name})


@pytest.fixture
def folder(model_folder: Path) -> Path:
    return model_folder


def fill(folder: Path, *names: str) -> None:
    """Create the named files, and folders for names that end in a slash."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()


def model_name(resolved: Plan) -> str:
    assert resolved.model is not None
    return resolved.model.name


def served_model(folder: Path, *arguments: str, **environ: str) -> str:
    """Return the name of the model that is served from a model folder."""
    resolved = plan(*arguments, SAGEMAKER_MODEL_PATH=str(folder), **environ)
    assert resolved.problems == []
    return model_name(resolved)


def missing_model(folder: Path, *arguments: str, **environ: str) -> str:
    """Return the problem that is reported when no model is found."""
    environ = {"SAGEMAKER_MODEL_PATH": str(folder), "HF_MODEL_ID": "", **environ}
    resolved = plan(*arguments, **environ)
    assert resolved.model is None
    [problem] = resolved.problems
    return problem


# --- the model folder --------------------------------------------------------------


def test_engines_variable_takes_precedence_over_folder_and_hub(
    engine: str, folder: Path
) -> None:
    prefix = PREFIX[engine]
    assert served_model(folder) == "org/model"
    fill(folder, "config.json")
    assert served_model(folder) == str(folder)
    environ = {"SAGEMAKER_MODEL_PATH": str(folder), f"{prefix}MODEL": "mine"}
    words = command(**environ)
    assert "mine" in words
    assert "--model" not in words
    assert str(folder) not in words


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("name", MODELS)
def test_model_file_makes_the_folder_a_model(folder: Path, name: str) -> None:
    fill(folder, name)
    assert served_model(folder).startswith(str(folder))


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("name", NOT_MODELS)
def test_other_files_do_not_make_the_folder_a_model(folder: Path, name: str) -> None:
    fill(folder, name)
    assert served_model(folder) == "org/model"
    message = missing_model(folder)
    assert message.startswith(f"No model was found: {folder} has only {name}. Put one")
    assert message.endswith("or set SM_VLLM_MODEL or HF_MODEL_ID.")


@pytest.mark.usefixtures("vllm")
def test_contents_of_folder_are_listed_up_to_limit(folder: Path) -> None:
    fill(folder, *NOT_MODELS[:6], *(f"x{number}" for number in range(20)))
    message = missing_model(folder)
    assert (
        "has only __pycache__/, adapters/, code/, lib/, lost+found/, requi" in message
    )
    assert "x13 and 14 more." in message
    model = plan(SAGEMAKER_MODEL_PATH=str(folder)).model
    assert model is not None
    assert model.source.startswith(f"HF_MODEL_ID, as {folder} has only __pycache__/")


@pytest.mark.usefixtures("vllm")
def test_symbolic_links_of_hub_snapshot_are_followed(
    folder: Path, tmp_path: Path
) -> None:
    fill(tmp_path, "blobs/1")
    (folder / "config.json").symlink_to(tmp_path / "blobs" / "1")
    assert served_model(folder) == str(folder)
    (tmp_path / "blobs" / "1").unlink()
    assert "has only config.json (a broken link)" in missing_model(folder)
    (tmp_path / "link").symlink_to(folder)
    fill(folder, "model.safetensors")
    assert served_model(tmp_path / "link") == str(tmp_path / "link")


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("inner", "suggested"),
    [
        ("llama/config.json", "llama"),
        ("checkpoint-500/model.safetensors", "checkpoint-500"),
        ("models--org--x/snapshots/0a1b/config.json", "models--org--x/snapshots/0a1b"),
    ],
)
def test_model_in_subfolder_is_suggested(
    folder: Path, inner: str, suggested: str
) -> None:
    fill(folder, inner, "code/config.json", "adapters/fr/adapter_model.bin", "a.txt")
    for environ in ({}, {"HF_MODEL_ID": "org/model"}):
        message = missing_model(folder, **environ)
        assert f"set SM_VLLM_MODEL={folder / suggested} to serve it" in message
    assert served_model(folder, SM_VLLM_MODEL="other") == "other"
    # With two candidates, none is suggested.
    fill(folder, "another/config.json")
    assert served_model(folder) == "org/model"
    assert "has only a.txt, adapters/, another/" in missing_model(folder)


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ('{"base_model_name_or_path": "org/base"}', ", such as HF_MODEL_ID=org/base,"),
        *((bad, "base model, and") for bad in ("[1]", "{", '{"a": 1}', "\xff")),
        ('{"base_model_name_or_path": null}', "base model, and"),
    ],
)
def test_adapter_is_not_a_model(folder: Path, config: str, advice: str) -> None:
    fill(folder, "adapter_model.safetensors", "tokenizer.model", "extra.bin")
    (folder / "adapter_config.json").write_text(config, "latin-1")
    assert served_model(folder) == "org/model"
    message = missing_model(folder)
    assert f"{folder} has an adapter, but no model." in message
    assert advice in message
    assert message.endswith(f"move the adapter to a subfolder of {folder}/adapters.")
    fill(folder, "config.json")
    assert served_model(folder) == str(folder)


@pytest.mark.usefixtures("vllm")
def test_adapter_in_subfolder_is_not_a_model(folder: Path) -> None:
    fill(folder, "fr/adapter_config.json", "fr/adapter_model.safetensors")
    assert served_model(folder) == "org/model"


def test_missing_or_empty_folder_is_a_problem(engine: str, tmp_path: Path) -> None:
    message = missing_model(tmp_path / "missing")
    assert message.startswith("No model was found: ")
    assert "missing does not exist. Put one into" in message
    fill(tmp_path, "file", "empty/")
    assert "file is not a folder" in missing_model(tmp_path / "file")
    assert "empty is empty" in missing_model(tmp_path / "empty")


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("name", ["SM_VLLM_MODEL", "HF_MODEL_ID"])
@pytest.mark.parametrize("value", ['"org/x"', "'org/x'"])
def test_quoted_model_name_is_an_error(folder: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.*leave the quotes out"):
        served_model(folder, **{name: value})


# --- GGUF --------------------------------------------------------------------------


@pytest.mark.usefixtures("vllm")
def test_vllm_receives_the_gguf_file(folder: Path) -> None:
    fill(folder, "q4.gguf", "README.md")
    path = {"SAGEMAKER_MODEL_PATH": str(folder)}
    file = str(folder / "q4.gguf")
    assert command(**path) == ["vllm", "serve", file, *ADDRESS]
    fill(folder, "tokenizer.json", "config.json")
    tokenizer = ["--tokenizer", str(folder)]
    assert command(**path) == ["vllm", "serve", file, *ADDRESS, *tokenizer]
    # A tokenizer in the arguments takes precedence.
    for words in (
        command("--tokenizer", "x", **path),
        command("--tokenizer=x", **path),
    ):
        assert str(folder) not in words
    fill(folder, "model.safetensors")
    assert command(**path) == ["vllm", "serve", str(folder), *ADDRESS]


@pytest.mark.usefixtures("vllm")
def test_several_gguf_files_are_a_problem_for_vllm(folder: Path) -> None:
    fill(folder, "q4.gguf", "q8.gguf")
    message = missing_model(folder, HF_MODEL_ID="org/model")
    assert "set SM_VLLM_MODEL to one of q4.gguf, q8.gguf" in message


@pytest.mark.parametrize("engine", ["sglang"], indirect=True)
def test_sglang_model_may_be_its_model_path(engine: str) -> None:
    expected = [*START[engine], "m", *ADDRESS]
    assert command(SM_SGLANG_MODEL_PATH="m") == expected
    assert command(SM_SGLANG_MODEL_PATH="n", SM_SGLANG_MODEL="m") == expected


@pytest.mark.parametrize("engine", ["tensorrt_llm"], indirect=True)
def test_tensorrt_llm_receives_the_gguf_folder(engine: str, folder: Path) -> None:
    fill(folder, "q4.gguf")
    assert served_model(folder) == str(folder)


# --- the command line, and the engine's config file --------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["X", "--port", "9"],
        ["--port", "9", "--model", "X"],
        ["--model=X", "--port", "9"],
        ["--model", "Y", "--port", "9", "--model", "X"],
        ["X", "--model", "X", "--port", "9"],
        ["", "--model", "X", "--port", "9"],
    ],
    ids=" ".join,
)
def test_model_of_command_line_takes_precedence(
    engine: str, folder: Path, arguments: list[str]
) -> None:
    fill(folder, "config.json")
    start, prefix = START[engine], PREFIX[engine]
    environ = {"SAGEMAKER_MODEL_PATH": str(folder), f"{prefix}MODEL": "other"}
    assert command(*arguments, **environ) == [*start, "X", *ADDRESS, "--port", "9"]


def test_two_models_on_command_line_are_an_error(engine: str) -> None:
    with pytest.raises(LookupError, match="are given behind serve: X, Y"):
        command("X", "--model", "Y")


@pytest.mark.usefixtures("vllm")
def test_option_without_value_is_passed_to_engine() -> None:
    assert command("--port", "9", "--model")[-3:] == ["--port", "9", "--model"]


def config(folder: Path, text: str, name: str = "vllm.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_config_file_of_command_line_names_model(folder: Path, form: str) -> None:
    fill(folder, "config.json")
    file = config(folder, "model: X\nseed: 1\n")
    environ = {"SAGEMAKER_MODEL_PATH": str(folder), "SM_VLLM_MODEL": "other"}
    given = form.format(file).split()
    words = command(*given, "--seed", "2", **environ)
    assert words == ["vllm", "serve", *ADDRESS, "--seed", "2", "--config", file]
    assert model_name(plan(*given, **environ)) == "X"
    # The argument takes precedence over the file.
    words = command("Y", *given, **environ)
    assert words == ["vllm", "serve", "Y", *ADDRESS, "--config", file]


@pytest.mark.usefixtures("vllm")
def test_config_file_of_variable_names_model(folder: Path) -> None:
    fill(folder, "config.json")
    file = config(folder, "model: X\n")
    environ = {"SAGEMAKER_MODEL_PATH": str(folder), "SM_VLLM_CONFIG": file}
    assert command(**environ) == ["vllm", "serve", *ADDRESS, "--config", file]
    words = command(SM_VLLM_MODEL="Y", **environ)
    assert words == ["vllm", "serve", "Y", *ADDRESS, "--config", file]
    # A file of the command line replaces the variable's: vLLM reads one.
    other = config(folder, "seed: 1\n", "other.yml")
    words = command("--config", other, **environ)
    assert words == ["vllm", "serve", str(folder), *ADDRESS, "--config", other]


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("text", ["seed: 1\n", "model:\n", "model: 7\n", "model: ''\n"])
def test_config_file_without_a_model_changes_nothing(folder: Path, text: str) -> None:
    assert served_model(folder, "--config", config(folder, text)) == "org/model"


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{}", "its name must end in .yaml or .yml"),
        ("a.yaml", "a: [", "it is not YAML"),
        ("a.yaml", "", "it contains no options"),
        ("a.yaml", "- a", "it contains no options"),
        ("a.yaml", "\xff\xfe", "decode"),
        ("missing.yaml", None, "No such file"),
    ],
)
def test_unusable_config_file_is_an_error(
    folder: Path, name: str, text: str | None, reason: str
) -> None:
    if text is not None:
        (folder / name).write_text(text, "latin-1")
    file = str(folder / name)
    with pytest.raises(ConfigurationError, match=rf"--config='{file}'.*{reason}"):
        served_model(folder, "--config", file)
    with pytest.raises(ConfigurationError, match=f"SM_VLLM_CONFIG='{file}'.*{reason}"):
        served_model(folder, SM_VLLM_CONFIG=file)


@pytest.mark.parametrize("engine", ["tensorrt_llm"], indirect=True)
def test_model_in_config_file_of_tensorrt_llm_is_ignored(
    engine: str, folder: Path
) -> None:
    file = config(folder, "model: X\n")
    for name in ("EXTRA_LLM_API_OPTIONS", "CONFIG"):
        assert served_model(folder, **{f"SM_TRTLLM_{name}": file}) == "org/model"
        with pytest.raises(ConfigurationError, match="the file does not exist"):
            served_model(folder, **{f"SM_TRTLLM_{name}": f"{file}x"})


@pytest.mark.usefixtures("vllm")
def test_address_in_config_file_is_ignored_with_note(folder: Path) -> None:
    def notes(text: str) -> list[str]:
        return [*plan("--config", config(folder, text)).notes]

    [note] = notes("host: 127.0.0.1\nport: 9\n")
    assert note.startswith("host and port of --config=")
    [note] = notes("port: 9\n")
    assert note.startswith("port of --config=")
    assert notes("seed: 9\n") == []


# --- adapters ----------------------------------------------------------------------

ADAPTERS: Final = "SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY"
LIMIT: Final = ["--max-cpu-loras", "8"]


def options(*arguments: str, **environ: str) -> list[str]:
    return command(*arguments, **{ADAPTERS: "8", **environ})[7:]


@pytest.mark.usefixtures("vllm")
def test_platforms_adapter_limit_is_passed_to_vllm(folder: Path) -> None:
    on = {"SM_VLLM_ENABLE_LORA": "true"}
    assert options() == []
    assert options(**on) == [*LIMIT, "--enable-lora"]
    assert options("--enable-lora") == [*LIMIT, "--enable-lora"]
    assert options("--enable_lora") == [*LIMIT, "--enable_lora"]
    file = config(folder, "enable_lora: true\nmax-loras: 8\n")
    assert options("--config", file) == [*LIMIT, "--config", file]
    file = config(folder, "enable-lora: false\n")
    assert options("--config", file) == ["--config", file]
    # The engine's own option takes precedence.
    assert options("--max-cpu-loras=2", **on) == ["--enable-lora", "--max-cpu-loras=2"]
    mine = {**on, "SM_VLLM_MAX_CPU_LORAS": "2"}
    assert options(**mine) == ["--enable-lora", "--max-cpu-loras", "2"]
    assert options(**on, SM_VLLM_MAX_LORAS="8")[:2] == LIMIT
    with pytest.raises(
        ConfigurationError, match=f"{ADAPTERS}='8'.*--max-loras, which is 9"
    ):
        options("--max-loras", "9", **on, SM_VLLM_MAX_LORAS="8")
    with pytest.raises(ConfigurationError, match=f"{ADAPTERS}='many'"):
        options(**on, **{ADAPTERS: "many"})


@pytest.mark.parametrize("engine", ["tensorrt_llm"], indirect=True)
def test_adapter_limit_is_a_note_for_tensorrt_llm(engine: str) -> None:
    resolved: Plan = plan(**{ADAPTERS: "8"})
    assert words_of(resolved) == ["trtllm-serve", "org/model", *ADDRESS]
    [note] = resolved.notes
    assert "Set max_cpu_loras under lora_config" in note


# --- folders that cannot be read ---------------------------------------------------


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("mode", [0o000, 0o644])
def test_folder_that_cannot_be_searched_is_an_error(
    open_folder: Path, mode: int
) -> None:
    """Also when a variable names a model: a script may be in the folder."""
    served_model(open_folder)  # Import everything as the current user.
    fill(open_folder, "config.json")
    open_folder.chmod(mode)
    with another_user():
        for name in ("HF_MODEL_ID", "SM_VLLM_MODEL"):
            with pytest.raises(ModuleLoadError, match="model.py cannot be read: Perm"):
                served_model(open_folder, **{name: "org/model"})


@pytest.mark.usefixtures("vllm")
def test_folder_that_cannot_be_listed_is_a_problem(open_folder: Path) -> None:
    """Also when the hub has a model: the folder may have another one."""
    served_model(open_folder)
    fill(open_folder, "config.json")
    open_folder.chmod(0o311)
    with another_user():
        message = missing_model(open_folder, HF_MODEL_ID="org/model")
        assert message == f"{open_folder} cannot be read: Permission denied."
        assert served_model(open_folder, SM_VLLM_MODEL="other") == "other"


@pytest.mark.usefixtures("vllm")
def test_unreadable_subfolder_is_not_a_model(open_folder: Path) -> None:
    fill(open_folder, "another/config.json")
    (open_folder / "another").chmod(0o000)
    with another_user():
        assert served_model(open_folder) == "org/model"
