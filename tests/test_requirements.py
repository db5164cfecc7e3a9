import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT_NAMES = {"sklearn": "scikit-learn", "pywt": "PyWavelets"}


def test_requirements_are_the_imports_pinned():
    files = list(ROOT.glob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imports = [node for node in nodes if isinstance(node, ast.Import)]
    names = {alias.name.split(".")[0] for node in imports for alias in node.names}
    names |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    third_party = names - sys.stdlib_module_names - {file.stem for file in files}
    lines = (ROOT / "requirements.txt").read_text().split()
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    assert {line.split("==")[0] for line in lines} == {
        PROJECT_NAMES.get(name, name) for name in third_party
    }


def test_a_script_never_imports_a_script_and_modules_keep_their_order():
    imports = {}
    for file in ROOT.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        imports[file.stem] = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        plain = [node for node in nodes if isinstance(node, ast.Import)]
        imports[file.stem] |= {alias.name for node in plain for alias in node.names}
    scripts = {file.stem for file in ROOT.glob("*.py") if "def parse_args(" in file.read_text()}
    assert {"preprocess", "baselines", "main", "predict", "shap_values"} <= scripts
    for name, imported in imports.items():
        assert not imported & scripts, name
    assert "dataset" not in imports["utils"] | imports["resnet"]
