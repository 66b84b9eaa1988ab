import torch

from sr_lab.networks.rrdb import DenseBlock, RRDBNet


def test_initialisation_is_a_tenth_of_kaiming_in_the_dense_blocks():
    torch.manual_seed(0)
    layer = DenseBlock(channels=64, growths=[32] * 4).layers[3]
    expected = 0.1 * (2 / (160 * 9)) ** 0.5
    assert abs(layer.weight.std().item() / expected - 1) < 0.02
    assert not layer.bias.any()


def test_residuals_are_scaled_twice():
    """With every dense block adding 0.2 * 1, an RRDB makes x + 0.2 * (x + 3 * 0.2)."""
    block = RRDBNet(scale=4, num_blocks=1, num_features=4, growth=2).body[0]
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    for dense in block.blocks:
        torch.nn.init.ones_(dense.layers[4].bias)
    features = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(block(features), 1.2 * features + 0.12)


def test_x2_sees_the_unshuffled_input():
    network = RRDBNet(scale=2, num_blocks=1, num_features=4, growth=2)
    seen = []
    network.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    low = torch.rand(1, 3, 6, 8)
    network(low)
    torch.testing.assert_close(seen[0][:, 4 * 1 + 2 * 1 + 0], low[:, 1, 1::2, 0::2])
