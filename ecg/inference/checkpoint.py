"""Checkpoint files: dictionaries of tensors, numbers and text, read without unpickling code."""

import hashlib
from pathlib import Path

import torch

from ecg.io.bounds import raise_if_of_machine
from utils import replacing

VERSION = 2  # raised when earlier checkpoints can no longer be used


def weights_digest(state_dict):
    """Return the SHA-256 of a network's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in state_dict.items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path, content):
    """Write a checkpoint of tensors, numbers, text, lists and dictionaries, atomically."""
    with replacing(path) as temporary:
        torch.save({"version": VERSION, **content}, temporary)


def read_checkpoint(path, device="cpu"):
    """Return the dictionary in a checkpoint file.

    Raises ValueError with what is wrong with the file, or OSError (FileNotFoundError) or
    MemoryError where the machine, not the file, is at fault.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(path)
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises half a dozen unrelated types on a damaged file
        raise_if_of_machine(error)
        kind = type(error).__name__
        text = f"cannot be read ({kind}): truncated, or not a checkpoint of main.py"
        raise ValueError(text) from None
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError("is not a checkpoint of main.py")
    version = content.get("version", 1)
    if version != VERSION:
        raise ValueError(f"has checkpoint version {version}; this code reads version {VERSION}")
    return content
