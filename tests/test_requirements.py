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
    optional = {}
    for name in ("hospital", "layouts"):
        base, first, *pinned = (ROOT / f"requirements-{name}.txt").read_text().split()
        assert (base, first) == ("-r", "requirements.txt")
        optional[name] = [re.fullmatch(r"(\w+)==[\d.]+", line)[1] for line in pinned]
    assert optional["hospital"] == ["ecgdatakit", "pydicom"]  # which ecgdatakit imports for DICOM
    assert optional["layouts"] == ["h5py", "openpyxl"]
    third_party -= {"ecgdatakit", "h5py", "openpyxl"}
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    assert {line.split("==")[0] for line in lines} == {
        PROJECT_NAMES.get(name, name) for name in third_party
    }
