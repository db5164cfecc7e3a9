import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = {"ecg", *(file.stem for file in ROOT.glob("*.py"))}
PROJECT_NAMES = {"sklearn": "scikit-learn", "pywt": "PyWavelets", "PIL": "pillow"}


def test_requirements_are_the_imports_pinned():
    files = [*ROOT.glob("*.py"), *ROOT.glob("ecg/**/*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imports = [node for node in nodes if isinstance(node, ast.Import)]
    names = {alias.name.split(".")[0] for node in imports for alias in node.names}
    names |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    third_party = names - sys.stdlib_module_names - OWN
    lines = (ROOT / "requirements.txt").read_text().split()
    base, first, *optional = (ROOT / "requirements-hospital.txt").read_text().split()
    assert (base, first) == ("-r", "requirements.txt")
    names = [re.fullmatch(r"(\w+)==[\d.]+", line)[1] for line in optional]
    assert names == ["ecgdatakit", "pydicom"]  # which ecgdatakit imports for DICOM
    third_party.remove("ecgdatakit")
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    assert {line.split("==")[0] for line in lines} == {
        PROJECT_NAMES.get(name, name) for name in third_party
    }
