"""Text teachers from pipeline folders: equal to diffusers where they should be, guided, counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_pipeline import CAPTIONS, CONTEXT, FACTOR, SIDE, WIDTH, latents, write_pipeline

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.guidance import FixedStrength, GuidedDenoiser, UniformStrength, guided
from baselines.diffusion.samplers import euler
from baselines.diffusion.vp import TimestepGrid, VelocityScaling
from baselines.distiller import Space, Teacher
from baselines.generators import ODESolver
from baselines.networks.mlp import ResidualMLP
from baselines.networks.text_unet import strength_embedding
from baselines.streams import SampleNoise, torch_generator
from baselines.teachers.stable_diffusion import StrengthInput, TextTeacher, open_text_teacher
from bench.meter import Meter, Metered, denoiser_flops


@pytest.fixture(scope="module")
def original(pipeline: Path) -> StableDiffusionPipeline:
    """The pipeline as diffusers opens it."""
    found = StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture
def cond(teacher: TextTeacher) -> Cond:
    return teacher.text(CAPTIONS[:4])


def at(teacher: TextTeacher, timestep: int) -> float:
    grid = teacher.space.grid
    assert isinstance(grid, TimestepGrid)
    return float(grid.scaling.schedule.levels[timestep])


# the network


def test_the_student_with_a_guidance_embedding_is_the_conditional_branch(teacher, original, cond):
    """Bit for bit at step 0, whatever the strength: the embedding's weights are zero."""
    z, time = latents(4), torch.tensor([999, 500, 19, 0])
    theirs = original.unet(z, time, cond.text).sample
    asked = Cond(text=cond.text, w=torch.tensor([0.0, 3.0, 7.5, 14.0]))
    assert teacher.net.model.strength_width == 32
    found = teacher.net.model(z, time.float(), text=cond.text, w=asked.w)
    assert torch.equal(found, theirs)
    sigma = teacher.space.grid.scaling.schedule.levels[time].float()
    x = z * (1 + sigma[:, None, None, None] ** 2).sqrt()
    assert torch.equal(teacher.net(x, sigma, asked), teacher.net(x, sigma, cond))
    estimate = x - sigma[:, None, None, None] * original.unet(z, time, cond.text).sample
    torch.testing.assert_close(teacher.net(x, sigma, cond), estimate, rtol=1e-5, atol=1e-5)


def test_the_guidance_embedding_is_lcms(teacher):
    """Diffusers' own function, with their w = guidance scale - 1."""
    from diffusers import LatentConsistencyModelPipeline

    w = torch.tensor([0.0, 1.5, 7.5])
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, w, embedding_dim=32)
    torch.testing.assert_close(strength_embedding(w, 32), theirs, rtol=0, atol=1e-6)


def test_a_trained_embedding_is_used(teacher, cond):
    from copy import deepcopy

    net = deepcopy(teacher.net)
    net.model.unet.time_embedding.cond_proj.weight.data.normal_(generator=torch_generator(0, "init"))
    x, strengths = latents(4), [torch.full((4,), w) for w in (2.0, 3.0)]
    a, b = (net(x, 1.0, Cond(text=cond.text, w=w)) for w in strengths)
    assert (a - b).abs().max() > 1e-3


def test_features_are_those_after_the_middle_block(teacher, cond):
    seen = []
    block = teacher.net.model.unet.mid_block
    handle = block.register_forward_hook(lambda module, args, out: seen.append(out))
    teacher.net(latents(4), 2.0, cond)
    found = teacher.net.features(latents(4), 2.0, cond)
    handle.remove()
    assert found.shape == (4, 16, SIDE // 2, SIDE // 2) and torch.equal(found, seen[0])


def test_half_precision_runs_inside(teacher, cond):
    half = Denoiser(teacher.net.model, teacher.net.scaling, torch.bfloat16)
    found, whole = half(latents(4), 1.0, cond), teacher.net(latents(4), 1.0, cond)
    assert found.dtype == torch.float32 and not torch.equal(found, whole)
    torch.testing.assert_close(found, whole, rtol=0.1, atol=0.1)
    half.features(latents(4), 1.0, cond)


def test_what_the_network_is_not_given_is_refused(pipeline, teacher, cond):
    plain = open_text_teacher(pipeline)
    with pytest.raises(ValueError, match=r"conditioned on captions: give Cond\(text"):
        plain.net(latents(2), 1.0, Cond())
    with pytest.raises(ValueError, match="without a guidance embedding"):
        plain.net(latents(4), 1.0, Cond(text=cond.text, w=torch.zeros(4)))


def test_the_same_network_can_be_built_without_weights(teacher, cond):
    state = torch.random.get_rng_state()
    net = teacher.build()
    assert torch.equal(torch.random.get_rng_state(), state)
    net.load_state_dict(teacher.net.state_dict())
    assert torch.equal(net.eval()(latents(4), 3.0, cond), teacher.net(latents(4), 3.0, cond))
    with torch.device("meta"):
        blank = teacher.build()
    flops = denoiser_flops(blank, teacher.space.shape, teacher.space.blank(1, "meta"))
    assert flops == denoiser_flops(net, teacher.space.shape, teacher.space.blank(1)) > 0


def test_the_space_is_that_of_the_latents(teacher):
    space = teacher.space
    assert (space.shape, space.text, space.n_classes) == ((4, SIDE, SIDE), (CONTEXT, WIDTH), 0)
    assert space.blank(3).text.shape == (3, CONTEXT, WIDTH) and space.blank(3).label is None
    assert space.sigma_max == pytest.approx(14.6146, abs=1e-4) and space.sigma_data == 1

    class Ladder:
        def integers(self, low: int, high: int, count: int) -> torch.Tensor:
            assert (low, high) == (0, 1000)
            return torch.tensor([0, 19, 999])

    levels = space.law.sample(Ladder(), 3)
    assert space.grid.scaling.schedule.timestep(levels).tolist() == [0, 19, 999]


# guidance


def test_guidance_is_diffusers_formula_with_scale_1_plus_w(teacher, original, cond):
    z, time = latents(4), torch.tensor([999, 400, 90, 5])
    free = original.unet(z, time, teacher.text.empty.text.expand_as(cond.text)).sample
    conditional = original.unet(z, time, cond.text).sample
    noise = free + 7.5 * (conditional - free)
    sigma = teacher.space.grid.scaling.schedule.levels[time].float()[:, None, None, None]
    x = z * (1 + sigma**2).sqrt()
    found = teacher.guided(FixedStrength(6.5))(x, sigma.flatten(), cond)
    torch.testing.assert_close(found, x - sigma * noise, rtol=1e-5, atol=2e-4)


def test_every_sample_has_its_own_strength(teacher, cond):
    w = torch.tensor([0.0, 1.0, 4.0, 9.0])
    many, x = teacher.guided(UniformStrength(0, 9)), latents(4)
    found = many(x, 2.0, Cond(text=cond.text, w=w))
    for row, strength in enumerate(w.tolist()):
        one = GuidedDenoiser(teacher.net, strength, teacher.text.empty)
        torch.testing.assert_close(found[row], one(x, 2.0, cond)[row], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="was given no strength"):
        many(x, 2.0, cond)


def test_strength_0_is_the_conditional_network_bit_for_bit(teacher, cond):
    assert teacher.guided(FixedStrength(0.0)) is None
    zero, x = GuidedDenoiser(teacher.net, 0.0, teacher.text.empty), latents(4)
    doubled = teacher.net(torch.cat([x, x]), 2.0, Cond.join([cond, cond.null(teacher.text.empty)]))
    assert torch.equal(zero(x, 2.0, cond), doubled[:4])
    torch.testing.assert_close(zero(x, 2.0, cond), teacher.net(x, 2.0, cond), rtol=1e-5, atol=1e-6)


def test_guided_models_share_weights_and_keep_their_guidance_when_rescaled(teacher, cond):
    found = teacher.guided(FixedStrength(2.0))
    assert found.model is teacher.net.model and "empty_text" not in found.state_dict()
    scaling = teacher.space.grid.consistency(1.0)
    other = found.rescaled(scaling)
    assert (other.w, other.scaling) == (2.0, scaling) and torch.equal(other.empty.text, found.empty.text)


def test_a_guided_evaluation_is_metered_as_two(teacher, cond):
    meter = Meter()
    shell = Metered(teacher.guided(FixedStrength(2.0)), "teacher", meter, cost=1.5)
    x = latents(4).requires_grad_()
    shell(x, 1.0, cond).sum().backward()
    shell.raw(x.detach(), 1.0, cond)
    assert meter.by_role("forwards") == {"teacher": 16} and meter.by_role("backwards") == {"teacher": 8}
    assert meter.work() == 1.5 * (16 + 8)
    direction = {name: torch.ones_like(p) for name, p in shell.plain.named_parameters()}
    shell.jvp(direction, x.detach(), torch.ones(4), cond)
    assert meter.by_role("forwards") == {"teacher": 24} and meter.work() == 1.5 * (24 + 8 * 3)
    shell.features(x.detach(), 1.0, cond)  # of the conditional branch alone
    assert meter.by_role("forwards") == {"teacher": 28} and 0 < shell.encoder_share < 1
    plain = Metered(teacher.net, "teacher", Meter())
    plain.features(x.detach(), 1.0, cond)
    assert plain.encoder_share == pytest.approx(shell.encoder_share)


def test_strengths_are_drawn_with_the_condition(cond):
    law = UniformStrength(3.0, 8.0)
    found = law.ask(Cond(label=torch.zeros(4000, dtype=torch.long)), torch_generator(0, "labels")).w
    assert found.min() >= 3 and found.max() <= 8 and found.mean().item() == pytest.approx(5.5, abs=0.1)
    again = law.ask(cond, torch_generator(0, "labels"))
    assert torch.equal(again.w, found[:4]) and torch.equal(again.text, cond.text)
    assert FixedStrength(3.0).ask(cond, torch_generator(0, "labels")) is cond


def test_guidance_without_an_unconditional_branch_is_refused(tmp_path):
    net = Denoiser(ResidualMLP(2, 8, 1), EDMScaling())
    with pytest.raises(ValueError, match=r"FixedStrength\(w=6.5\): guidance needs a network .* scale 1"):
        guided(net, Space((2,), n_classes=3), FixedStrength(6.5))
    assert guided(net, Space((2,), n_classes=3), FixedStrength(0.0)) is None
    distilled = open_text_teacher(write_pipeline(tmp_path / "lcm", time_cond_proj_dim=16))
    with pytest.raises(ValueError, match=r"lcm: UniformStrength.* was also trained without conditions"):
        distilled.guided(UniformStrength(2, 14))


def test_labels_are_guided_by_the_null_label():
    class Labelled(ResidualMLP):
        def forward(self, x, noise_label, label=None):
            return label[:, None].double().expand_as(x)

    net = Denoiser(Labelled(2, 8, 1), EDMScaling())
    found = guided(net, Space((2,), n_classes=3, unconditional=True), FixedStrength(3.0))
    raw = found.raw(torch.zeros(2, 2, dtype=torch.float64), 1.0, Cond(label=torch.tensor([0, 2])))
    assert raw[:, 0].tolist() == [4 * 0 - 3 * -1, 4 * 2 - 3 * -1]


def test_the_guided_network_is_what_students_learn(teacher):
    meter = Meter()
    net = Metered(teacher.net, "teacher", meter)
    guide = Metered(teacher.guided(FixedStrength(2.0)), "teacher", meter)
    assert Teacher(teacher.space, net, None, guide).denoiser is guide
    assert Teacher(teacher.space, net).denoiser is net


# the whole pipeline


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_whole_pipeline_gives_the_images_of_diffusers(tmp_path, prediction):
    """Captions, guidance 5, DDIM with 4 trailing steps, autoencoder: theirs ends at timestep 0."""
    folder = write_pipeline(tmp_path / "pipe", prediction=prediction)
    original = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    original.set_progress_bar_config(disable=True)
    noise, captions = SampleNoise(0, range(3), (4, SIDE, SIDE)), list(CAPTIONS[:3])
    options = {"num_inference_steps": 4, "guidance_scale": 5.0, "latents": noise.initial()}
    ours = open_text_teacher(folder)
    assert isinstance(ours.net.scaling, VelocityScaling) == (prediction == "v_prediction")
    grid = ours.space.grid
    levels = grid.solver(4)
    levels[-1] = grid.sigma_min
    start = noise.initial() * grid.start(grid.sigma_max)
    cond = ours.text(captions)
    found = euler(ours.guided(FixedStrength(4.0)), start, levels, cond) / (1 + grid.sigma_min**2) ** 0.5
    theirs = original(captions, output_type="latent", **options).images
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)
    pixels = torch.from_numpy(original(captions, output_type="np", **options).images).permute(0, 3, 1, 2)
    torch.testing.assert_close((ours.latents.decode(found) + 1) / 2, pixels, rtol=0, atol=1e-4)


def test_a_plain_solver_counts_two_evaluations_a_step_under_guidance(teacher, cond):
    meter = Meter()
    shell = Metered(teacher.guided(FixedStrength(2.0)), "teacher", meter)
    sampler = ODESolver(shell, teacher.space.grid, "euler", euler)
    with torch.no_grad():
        sampler.sample(SampleNoise(0, range(4), teacher.space.shape), cond, 3)
    assert meter.by_role("forwards") == {"teacher": 4 * 3 * 2}


def test_latents_are_scaled_by_the_autoencoders_factor(teacher, original):
    images = torch.rand(2, 3, 16, 16, generator=torch_generator(0, "data")) * 2 - 1
    law = original.vae.encode(images).latent_dist
    torch.testing.assert_close(teacher.latents.encode(images), FACTOR * law.mean, rtol=1e-4, atol=1e-5)
    noise = latents(2)
    torch.testing.assert_close(
        teacher.latents.encode(images, noise), FACTOR * (law.mean + law.std * noise), rtol=1e-4, atol=1e-5
    )
    again = teacher.latents.decode(teacher.latents.encode(images))
    torch.testing.assert_close(again, original.vae.decode(law.mean).sample.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_an_embedding_of_another_width_is_left_as_it_is(tmp_path):
    folder = write_pipeline(tmp_path / "lcm", time_cond_proj_dim=16)
    found = open_text_teacher(folder, form=StrengthInput(256))
    assert found.net.model.strength_width == 16 and not found.space.unconditional
    assert found.net.model.unet.time_embedding.cond_proj.weight.abs().sum() > 0


def test_the_example_of_the_documents_runs(pipeline, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "text-to-image.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "stable-diffusion-v1-5").symlink_to(pipeline)
    monkeypatch.chdir(tmp_path)
    made: dict[str, torch.Tensor] = {}
    exec(compile(code, "text-to-image.md", "exec"), made)
    assert made["images"].shape == (2, 3, 16, 16) and made["images"].abs().max() <= 1
