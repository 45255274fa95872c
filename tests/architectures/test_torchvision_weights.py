"""A SEW-ResNet that starts from torchvision's ANN: every weight in its place, and one line where that cannot be."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet34

from snnrepro.architectures.resnet import SEWResNet
from snnrepro.errors import UserError
from snnrepro.neurons import LIF

FILES = {"resnet18": "resnet18-f37072fd.pth", "resnet34": "resnet34-b627a593.pth"}
BLOCKS = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch's hub folder, empty; `hub(name)` puts a random net of torchvision there and gives it."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()

    def put(name: str) -> nn.Module:
        torch.manual_seed(5)
        net = {"resnet18": resnet18, "resnet34": resnet34}[name]()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -1, 1)
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
        torch.save(net.state_dict(), folder / FILES[name])
        return net.eval()

    put.folder = folder
    return put


class Relu(LIF):
    """What the ANN has in place of a neuron."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)


def build(name: str = "resnet18", neuron=Relu, **settings) -> SEWResNet:
    shape, classes = settings.pop("shape", (3, 64, 64)), settings.pop("classes", 1000)
    factory = lambda num_steps, num_features: neuron()  # noqa: E731
    return SEWResNet(factory, shape, classes, 2, blocks=BLOCKS[name], weights="torchvision", **settings).eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_every_weight_and_statistic_is_the_anns(name, hub):
    ann, snn = hub(name).state_dict(), build(name).state_dict()
    stem = {"conv1.weight": "conv1.weight", "bn1.running_var": "norm1.running_var", "fc.bias": "readout1.bias"}
    last = f"layer4.{BLOCKS[name][-1] - 1}"
    block = {f"{last}.bn2.weight": f"block{sum(BLOCKS[name])}.body.norm2.weight"}
    third = BLOCKS[name][0] + 1  # the first block of the second stage
    block |= {"layer2.0.downsample.0.weight": f"block{third}.shortcut.conv1.weight"}
    for theirs, ours in (stem | block).items():
        assert torch.equal(ann[theirs], snn[ours])
    # Nothing is left out or copied twice: the same values in all, but for the time embedding.
    mine = sum(value.double().sum() for key, value in snn.items() if "embedding" not in key)
    assert torch.allclose(mine, sum(value.double().sum() for value in ann.values()))


def test_with_relus_the_residual_branches_of_the_first_block_are_the_anns(hub):
    ann, snn = hub("resnet18"), build()
    x = torch.randn(1, 64, 9, 9)
    branch = ann.layer1[0].bn2(ann.layer1[0].conv2(torch.relu(ann.layer1[0].bn1(ann.layer1[0].conv1(x)))))
    with torch.no_grad():
        torch.testing.assert_close(snn.block1.body(x[None])[0], torch.relu(branch))


def test_without_the_file_one_line_says_how_to_fetch_it(hub):
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth is not there; fetch it, .*IMAGENET1K_V1") as caught:
        build()
    assert "architecture.weights=null" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_one_line(hub, content):
    (hub.folder / FILES["resnet18"]).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as torchvision's resnet18: remove it and fetch it again"):
        build()


def test_a_file_of_other_weights_is_one_line(hub):
    torch.save({"features.0.weight": torch.ones(2)}, hub.folder / FILES["resnet18"])
    with pytest.raises(UserError, match="cannot be read as torchvision's resnet18"):
        build()


@pytest.mark.parametrize("settings", [{"classes": 10}, {"shape": (2, 64, 64)}, {"channels": (32, 64, 128, 256)}])
def test_another_size_than_the_anns_is_one_line(hub, settings):
    hub("resnet18")
    with pytest.raises(UserError, match="fits torchvision's resnet18 only: its channels, 3 x H x W, 1,000 classes"):
        build(**settings)


def test_other_numbers_of_blocks_have_no_ann():
    with pytest.raises(UserError, match=r"goes with blocks \[2, 2, 2, 2\] or \[3, 4, 6, 3\]"):
        SEWResNet(lambda **_: LIF(), (3, 64, 64), 1000, 2, blocks=(1, 1, 1, 1), weights="torchvision")
