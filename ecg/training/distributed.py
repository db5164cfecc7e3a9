"""The processes of one run under torchrun; without torchrun there is one, and all of this is idle.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK. Process 0 writes files and prints.
"""

import os

import numpy as np
import torch
import torch.distributed as dist

from ecg.inference.device import get_device


def rank():
    """Return this process's number, from 0."""
    return int(os.environ.get("RANK", 0))


def world_size():
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def start(name):
    """Join the other processes; return the device of this one: its own GPU, or the CPU.

    `name` is one of flags.DEVICES.
    """
    device = get_device(name)
    use_gpu = device.type == "cuda"
    if world_size() > 1:
        if use_gpu:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if use_gpu else "gloo")
    return device


def stop():
    """Leave the other processes, at the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wait():
    """Wait until every process has reached this point."""
    if world_size() > 1:
        dist.barrier()


def wrap(model):
    """Return the model, its gradients averaged over the processes if there are several."""
    if world_size() == 1:
        return model
    return torch.nn.parallel.DistributedDataParallel(model)


def share(rows):
    """Return this process's part of a list; the parts of all processes make up the whole."""
    return rows[rank() :: world_size()]


def gather(values):
    """Join the arrays (n, ...) of all processes, of rows dealt by `share`, in the rows' order."""
    if world_size() == 1:
        return values
    parts = [None] * world_size()
    dist.all_gather_object(parts, values)
    whole = np.empty((sum(map(len, parts)), *values.shape[1:]), values.dtype)
    for number, part in enumerate(parts):
        whole[number :: len(parts)] = part
    return whole


def copy_buffers(model):
    """Give every process the batch-norm statistics of process 0, each having seen its own part."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
