"""Methods of explanation that were tried once, for `benchmarks.agreement`; this is no command.

grad-cam          of the last features (Selvaraju et al., ICCV 2017), by captum; it has no leads
guided-backprop   gradients that pass no ReLU backwards where they are negative (Springenberg et
                  al., ICLR 2015), by captum
averaged          integrated gradients, mean over several trainings
"""

import copy
from functools import partial

import torch
from captum.attr import GuidedBackprop, LayerGradCam

from ecg.explanation.attributions import Attribution, mean_gradients_of, straight_path
from ecg.explanation.evidence_map import between_frames
from ecg.explanation.methods import Method
from ecg.inference.model import Model

NAMES = ("grad-cam", "guided-backprop", "averaged")


def twice(phi, n=1):
    """Return values (L, T) as the Attribution of a method that draws nothing."""
    return Attribution(phi, torch.stack([phi, phi]), n)


def grad_cam(network, parts, background, options, stop_when=None):
    """Return Grad-CAM's Attributions; every lead has the same values."""
    method, maps = LayerGradCam(network, network.stages), {}
    for k, x in parts.items():
        with torch.enable_grad():
            frames = method.attribute(x[None].clone().requires_grad_(), target=k)[0, 0]
        time = between_frames(frames.clamp(min=0).detach().numpy(), x.shape[1])
        maps[k] = twice(torch.from_numpy(time).to(x).repeat(len(x), 1))
    return maps


def guided_backprop(network, parts, background, options, stop_when=None):
    """Return the Attributions of guided backpropagation."""
    network, maps = copy.deepcopy(network), {}
    for k, x in parts.items():
        values = GuidedBackprop(network).attribute(x[None].clone().requires_grad_(), target=k)
        maps[k] = twice(values[0].detach())
    return maps


def averaged(networks, network, parts, background, options, stop_when=None):
    """Return the mean of the integrated gradients of several networks, each divided by its size."""
    made = []
    for each in (network, *networks):
        made.append(mean_gradients_of(straight_path, each, parts, background, options))
    maps = {}
    for k in parts:
        phi = torch.stack([one[k].phi / one[k].phi.abs().sum() for one in made])
        maps[k] = twice(phi.mean(0), options.samples)
    return maps


def register(methods, others):
    """Add the three to a dictionary of Methods; `others` are paths of trainings for 'averaged'."""
    networks = [Model.load(path).network for path in others]
    ways = grad_cam, guided_backprop, partial(averaged, networks)
    for name, way in zip(NAMES, ways, strict=True):
        methods[name] = Method(f"benchmarks: {name}", way, adds_up=False, unit=name)
