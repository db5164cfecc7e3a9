import numpy as np
import pytest
import torch

import resnet


def test_resnet34_has_the_paper_s_16_610_185_parameters():
    model = resnet.ResNet1d("resnet34", 12, 9)
    assert sum(p.numel() for p in model.parameters()) == 16_610_185


@pytest.mark.parametrize(("leads", "samples"), [(12, 15000), (1, 5000), (3, 1001)])
def test_output_is_one_logit_a_class_whatever_the_length(leads, samples):
    model = resnet.ResNet1d("resnet18", leads, 9).eval()
    with torch.no_grad():
        assert model(torch.randn(2, leads, samples)).shape == (2, 9)


def test_a_block_equals_its_formula():
    block = resnet.BasicBlock1d(4, 6, stride=2).eval()
    x = torch.randn(3, 4, 21)
    f = torch.nn.functional

    def norm(bn, y):
        return f.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)

    y = f.relu(norm(block.bn1, f.conv1d(x, block.conv1.weight, stride=2, padding=3)))
    y = norm(block.bn2, f.conv1d(y, block.conv2.weight, padding=3))
    shortcut = norm(block.shortcut[1], f.conv1d(x, block.shortcut[0].weight, stride=2))
    torch.testing.assert_close(block(x), f.relu(y + shortcut))


def test_dropout_of_a_fifth_acts_between_the_convolutions_in_training_only():
    block = resnet.BasicBlock1d(4, 4, stride=1)
    block.conv2 = torch.nn.Identity()
    block.bn2 = torch.nn.Identity()
    block.shortcut = torch.nn.Conv1d(4, 4, 1, bias=False)
    torch.nn.init.zeros_(block.shortcut.weight)
    torch.nn.init.ones_(block.bn1.bias)
    torch.nn.init.zeros_(block.bn1.weight)  # the first half gives 1 everywhere
    x = torch.randn(50, 4, 100)
    dropped = (block(x) == 0).float().mean().item()
    assert 0.18 < dropped < 0.22  # 20,000 draws: 7 standard errors
    assert (block.eval()(x) == 1).all()


def test_pooling_is_average_beside_maximum():
    model = resnet.ResNet1d("resnet18", 2, 3).eval()
    seen = {}
    model.stages.register_forward_hook(lambda m, i, out: seen.update(features=out))
    x = torch.randn(2, 2, 800)
    logits = model(x)
    features = seen["features"]
    assert features.shape == (2, 512, 25)  # a stride of 32 in all
    pooled = torch.cat([features.mean(2), features.max(2).values], 1)
    torch.testing.assert_close(logits, pooled @ model.fc.weight.T + model.fc.bias)


def test_width_scales_every_stage():
    small = resnet.ResNet1d("resnet18", 12, 9, 24)
    assert sum(p.numel() for p in small.parameters()) == 1_237_113
    assert [block.conv2.out_channels for block in small.stages[::2]] == [24, 48, 96, 192]


def test_a_model_with_a_window_scores_the_largest_logit_along_the_record():
    model = resnet.ResNet1d("resnet18", 2, 3, 8, window=1000).eval()
    x = torch.randn(2, 2, 2300)
    with torch.no_grad():
        parts = [model(x[..., start : start + 1000]) for start in (0, 500, 1000, 1300)]
        torch.testing.assert_close(model.record_logits(x), torch.stack(parts).max(0).values)
        torch.testing.assert_close(model.record_logits(x[..., :1000]), parts[0])
        plain = resnet.ResNet1d("resnet18", 2, 3, 8).eval()
        torch.testing.assert_close(plain.record_logits(x), plain(x))


def test_the_normal_class_is_scored_by_its_smallest_logit_along_the_record():
    model = resnet.ResNet1d("resnet18", 2, 3, 8, window=1000, normal=0).eval()
    x = torch.randn(2, 2, 2300)
    with torch.no_grad():
        parts = torch.stack([model(x[..., s : s + 1000]) for s in (0, 500, 1000, 1300)])
        logits = model.record_logits(x)
    torch.testing.assert_close(logits[:, 0], parts[..., 0].min(0).values)
    torch.testing.assert_close(logits[:, 1:], parts[..., 1:].max(0).values)


def test_the_evidence_head_sees_the_features_of_every_frame():
    model = resnet.ResNet1d("resnet18", 2, 3, 8, evidence=True).eval()
    seen = {}
    model.stages.register_forward_hook(lambda m, i, out: seen.update(features=out))
    x = torch.randn(2, 2, 5000)
    with torch.no_grad():
        logits, frames = model(x, with_evidence=True)
        torch.testing.assert_close(logits, model(x))
    assert frames.shape == (2, 3, 157)  # a frame of 32 samples
    by_hand = torch.einsum("kc,nct->nkt", model.evidence.weight[..., 0], seen["features"])
    torch.testing.assert_close(frames, by_hand + model.evidence.bias[:, None])
    assert resnet.ResNet1d("resnet18", 2, 3, 8).evidence is None


def test_shares_of_frames_are_those_of_their_samples():
    covered = np.zeros(5000 + 64)
    for start, stop in ((0, 40), (1000, 1100)):
        covered[start:stop] = 1
    shares = resnet.frame_shares([(0, 40), (1000, 1100)], 5000)
    for frame in range(157):  # centred on sample 32 frame; before the record there is nothing
        first = 32 * frame - 16
        assert shares[frame] == covered[max(0, first) : first + 32].sum() / 32
