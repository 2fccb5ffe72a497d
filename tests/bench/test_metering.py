"""What the meter counts: forwards, backwards, roles, phases; and that counting changes nothing."""

from __future__ import annotations

import pytest
import torch
from sid_step_properties import tiny_mlp, tiny_unet

from baselines.diffusion.cond import Cond
from baselines.distiller import frozen
from baselines.streams import torch_generator
from bench.meter import Meter, Metered, denoiser_flops, forward_flops


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "train-noise"))


def test_forward_and_both_kinds_of_backward() -> None:
    meter = Meter()
    net = Metered(tiny_mlp(), "student", meter, cost=3.0)
    with torch.no_grad():
        net(noise(5, 2), 1.0)
    assert meter.work() == 5 * 3
    net(noise(5, 2), 1.0).sum().backward()
    assert meter.work() == 5 * 3 + 5 * 3 * (1 + 2)
    with frozen(net):
        net(noise(5, 2).requires_grad_(), 1.0).sum().backward()
    assert meter.work() == 5 * 3 * (4 + 2)
    assert meter.by_role("forwards") == {"student": 15} and meter.by_role("backwards") == {"student": 10}
    with frozen(net):
        net(noise(5, 2), 1.0)  # nothing to differentiate: no backward is due
    assert meter.by_role("backwards") == {"student": 10}


def test_backward_is_charged_only_when_it_happens() -> None:
    meter = Meter()
    net = Metered(tiny_mlp(), "student", meter)
    out = net(noise(4, 2), 1.0)
    assert meter.work() == 4
    (out.detach() + 1).sum()
    assert meter.work() == 4
    out.sum().backward()
    assert meter.work() == 12


def test_raw_and_features_are_counted() -> None:
    meter = Meter()
    net = Metered(tiny_mlp(), "student", meter)
    net.raw(noise(4, 2), 1.0)
    assert meter.by_role("forwards") == {"student": 4}
    net.features(noise(4, 2), 1.0)
    assert meter.by_role("forwards") == {"student": 8}


def test_counting_changes_no_value() -> None:
    plain, shell = tiny_unet(10), Metered(tiny_unet(10), "student", Meter())
    x, cond = noise(3, 1, 4, 4), Cond(label=torch.arange(3))
    grads = []
    for call, net in ((plain, plain), (shell, shell.plain)):
        net.eval()
        inputs = x.clone().requires_grad_()
        out = call(inputs, 0.7, cond)
        (out**2).sum().backward()
        grads.append([out.detach(), inputs.grad, *(p.grad for p in net.parameters() if p.grad is not None)])
    assert len(grads[0]) > 10
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_phases_are_separate_and_restored_after_errors() -> None:
    meter = Meter()
    net = Metered(tiny_mlp().requires_grad_(False), "teacher", meter)
    with pytest.raises(ZeroDivisionError), meter.during("sample"):
        net(noise(2, 2), 1.0)
        raise ZeroDivisionError
    net(noise(3, 2), 1.0)
    assert (meter.work("sample"), meter.work("train")) == (2, 3)
    assert meter.by_role("forwards", "sample") == {"teacher": 2}


def test_state_survives_json_types() -> None:
    meter = Meter()
    net = Metered(tiny_mlp(), "student", meter, cost=0.5)
    net(noise(2, 2), 1.0).sum().backward()
    again = Meter()
    again.load_state_dict(meter.state_dict())
    assert again.state_dict() == meter.state_dict()
    assert again.work() == meter.work() == 3
    assert again.by_role("backwards") == {"student": 2}


def test_flops() -> None:
    assert forward_flops(torch.nn.Linear(3, 5), torch.zeros(7, 3)) == 2 * 7 * 3 * 5
    net = tiny_unet(10)
    one = denoiser_flops(net, (1, 4, 4), Cond(label=torch.zeros(1, dtype=torch.long)))
    assert one > 0
    assert (
        forward_flops(net, torch.zeros(2, 1, 4, 4), 1.0, Cond(label=torch.zeros(2, dtype=torch.long)))
        < 2.01 * one
    )
