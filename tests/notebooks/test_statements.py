"""Statements that the notebooks make in words, checked with numbers: each test fails on what was once said wrongly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from notebook_helpers import NOTEBOOKS
from scipy.stats import spearmanr

from common import EMBEDDED
from figures import plane
from fmcore.data.folders import find_test_items
from fmcore.data.picture import read_mask, read_picture
from fmcore.decomposition.landscape import PlaneGrid, bias_variance, landscape, point_steps, probe
from fmcore.decomposition.laws import exact_terms, image_law
from fmcore.detector.model import load_model
from fmcore.evaluation.baselines import mahalanobis
from fmcore.fields import GaussianField, MixtureField, PlaceGaussianField, semicircle
from fmcore.fields.mlp import attainable_loss, draw_pairs
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps
from fmcore.path import draw_noise, interior_times, interpolate
from runner.book import all_notebooks, find_notebook

COUNT = 200_000


def gaussian(mean: float, variance: float) -> GaussianField:
    none = torch.zeros(0)
    return GaussianField(torch.tensor([mean]), none.view(0, 1), none, variance)


def draw(field, t: float, seed: int = 0):
    """States and velocities ``(N, D)`` of paths to data of ``field``."""
    generator = torch.Generator().manual_seed(seed)
    x1 = field.sample(COUNT, generator)
    x0 = torch.randn(x1.shape, generator=generator)
    return interpolate(x0, x1, t), x1 - x0


def assert_equal_means(left: torch.Tensor, right: torch.Tensor | float) -> None:
    """Of draws ``(N,)``, within four standard errors of the difference."""
    gap = (left - right).double()
    assert abs(gap.mean()) < 4 * gap.std() / COUNT**0.5


@pytest.mark.parametrize("t", [0.3, 0.7])
def test_the_error_of_a_learned_field_goes_into_the_denoising_term_and_only_its_projection_into_the_cross_term(t):
    """Notebook 04, section 5."""
    p, q = gaussian(0.0, 1.0), gaussian(1.0, 0.3)
    x, u = draw(q, t)
    error = 0.3 * torch.sin(3 * x) + 0.2
    learned, exact = q(x, t) + error, q(x, t)
    assert_equal_means((learned - u).square()[:, 0], ((exact - u).square() + error.square())[:, 0])
    cross = 2 * ((p(x, t) - learned) * (learned - u))[:, 0]
    assert_equal_means(cross, 2 * ((p(x, t) - learned) * error)[:, 0])
    # Not the error itself: one at right angles to the gap leaves no cross term at all.
    aside = (learned - exact).square()[:, 0]
    assert aside.mean() > 0.05 and abs(cross.mean() - aside.mean()) > 0.05


def test_the_cross_term_of_one_group_of_a_mix_does_not_vanish_even_for_exact_fields():
    """Notebooks 03 and 07: it does only over all paths to the mix."""
    good, odd = torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 0.5]])
    narrow = torch.tensor([0.05])
    p = MixtureField.isotropic(torch.ones(1), good, narrow)
    q = MixtureField.isotropic(torch.ones(2), torch.cat([good, odd]), narrow.repeat(2))
    means = []
    for seed, group in enumerate((p, MixtureField.isotropic(torch.ones(1), odd, narrow))):
        x, u = draw(group, 0.2, seed)
        means.append(2 * ((p(x, 0.2) - q(x, 0.2)) * (q(x, 0.2) - u)).sum(1))
    assert means[0].mean() < -0.5 and means[1].mean() > 0.5
    assert_equal_means(means[0], -means[1])


@pytest.mark.parametrize("name", ["semicircle", "three_clusters", "two_moons"])
def test_both_ends_of_the_mismatch_are_those_that_notebook_01_names(name):
    """At t = 0 the distance to the mean, at t = 1 the size of the noise, whichever point is judged."""
    toy = plane.toy(name)
    x0 = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    mean = toy.field.sample(COUNT, torch.Generator().manual_seed(1)).mean(0)
    for y in (toy.normal.flatten(), toy.anomalous.flatten()):
        for t, expected in ((1e-4, (mean - y).square().sum().expand(4)), (1 - 1e-4, x0.square().sum(1))):
            found = (toy.field(interpolate(x0, y, t), t) - (y - x0)).square().sum(1)
            torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)


def test_the_velocity_of_a_gaussian_is_affine_and_not_linear():
    """Notebook 02."""
    field, x = gaussian(1.0, 0.3), torch.tensor([[0.5], [1.5]])
    ends, middle = field(x, 0.4), field(x.mean(0, keepdim=True), 0.4)
    torch.testing.assert_close(middle[0], ends.mean(0))
    assert (field(torch.zeros(1, 1), 0.4).abs() > 0.1).all()


def test_for_a_gaussian_per_place_the_exact_mismatch_ranks_nearly_as_the_mahalanobis_distance_does():
    """Notebook 03: of pictures near the law and off it in all directions."""
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=random) * torch.logspace(-1, 0, 12)
    field = PlaceGaussianField.fit(torch.einsum("ij,njhw->nihw", mixing, torch.randn(80, 12, 4, 4, generator=random)))
    off = torch.rand(200, 1, 1, 1, generator=random) * torch.randn(200, 12, 4, 4, generator=random)
    images = field.sample(200, random) + off
    heat = HeatSettings(aggregator="mean")
    exact = [Mismatch.collect(mismatch_steps(field, y, PathSettings(paths=0))).heatmap(heat) for y in images]
    distance = map(mahalanobis(field), images)
    ranks = [[image_score(values) for values in maps] for maps in (exact, distance)]
    assert spearmanr(*ranks).statistic > 0.95


def test_the_minimum_over_draws_goes_on_sinking_where_the_mean_settles_at_the_exact_one():
    """Notebook 05."""
    field, image = GaussianField.isotropic(torch.zeros(1, 4, 4), 0.5), torch.full((1, 4, 4), 1.5)
    drawn, exact = (Mismatch.collect(mismatch_steps(field, image, PathSettings(paths=k, times=2))) for k in (64, 0))
    least = [drawn.maps[-1, :k].min(0).mean() for k in (1, 8, 64)]
    assert least[0] > 2 * least[1] > 4 * least[2]
    assert abs(drawn.maps[-1].mean() / exact.maps[-1].mean() - 1) < 0.1


def test_the_loss_of_the_plane_rests_at_the_denoising_term():
    """Notebook 02: the exact field has the least loss, and that is not zero."""
    field = semicircle()
    x1, x0, t = draw_pairs(
        field.sample(20_000, torch.Generator().manual_seed(0)), 20_000, torch.Generator().manual_seed(1)
    )
    loss = (field(interpolate(x0, x1, t), t) - (x1 - x0)).square().sum(1).mean()
    assert 1 < attainable_loss(field) and abs(float(loss) / attainable_loss(field) - 1) < 0.05


def default(name: str) -> dict:
    """Values of a notebook's parameters as it is committed."""
    return {parameter.name: parameter.default for parameter in find_notebook(name).parameters.values()}


@pytest.fixture(scope="module")
def idea():
    """What notebook 01 computes at its defaults: stage, landscape, settings."""
    given, stage = default("01"), plane.toy("semicircle")
    paths = PathSettings(paths=given["paths"], times=given["times"], noise_seed=given["noise_seed"])
    heat = HeatSettings(aggregator=given["aggregator"], exponent=given["exponent"])
    return stage, paths, heat, landscape(stage.field, PlaneGrid(side=40), paths)


def test_the_tips_of_the_predicted_arrows_end_on_the_arc_and_only_those_to_the_normal_star_arrive(idea):
    """Notebook 01, section 3, and the workshop's, at the time that is drawn."""
    stage, paths, *_ = idea
    targets = torch.stack([stage.normal.flatten(), stage.anomalous.flatten()])
    nearest = []
    for one in probe(stage.field, targets, draw_noise(paths.paths, (2,), paths.noise_seed), times=paths.times):
        late = 2 * paths.times // 3
        tips = one.states[late] + (1 - one.times[late]) * one.predicted[late]
        assert abs(np.hypot(*(tips - [0, 3]).T) - 5).max() < 0.1
        nearest.append(np.hypot(*(tips - one.ends).T).min())
    assert nearest[0] < 0.1 and nearest[1] > 0.4


def test_the_stars_differ_most_in_the_middle_and_the_weight_lets_early_times_hardly_count(idea):
    """Notebook 01, sections 4 and 5."""
    stage, paths, heat, _ = idea
    targets = torch.stack([stage.normal.flatten(), stage.anomalous.flatten()])
    found = Mismatch.collect(point_steps(stage.field, targets, paths))
    normal, anomalous = found.per_time(heat)[:, 0].T
    ratio = anomalous / normal
    assert 3 <= ratio.argmax() <= 9 and ratio.max() > 3 * max(ratio[0], ratio[-1])
    parts = found.weighted(heat)[:, 0]
    assert normal[0] > 2 and (parts[:3].sum(0) < parts.sum(0) / 3).all()


def test_bias_is_large_at_early_times_and_variance_everywhere_but_less_in_the_average(idea):
    """Notebook 01, section 7: a good part of the plane; about as much as its mean."""
    stage, paths, heat, scene = idea
    normal = stage.field.sample(100, torch.Generator().manual_seed(1))
    study = bias_variance(stage.field, scene, normal, paths, heat)
    assert study.basin[0] > 0.2 > 4 * study.running_basin[-1]
    assert 0.8 < study.spread.max() < 1.3 and study.running_spread[-1] < study.spread[2:].mean()


def test_on_a_picture_early_maps_are_biased_late_ones_speckled_and_the_weighted_one_lies_between(idea):
    """Notebook 01, section 8: contrast of the defect, and agreement of two noise seeds."""
    _, paths, heat, _ = idea
    model, items = load_model(EMBEDDED / "gaussian"), find_test_items(EMBEDDED / "examples" / "brick")
    item = next(item for item in items if item.defect == "foreign")
    y, field = model.view("brick")(read_picture(item.path)), model.field("brick")
    defect = read_mask(item.mask, height=y.shape[1], width=y.shape[2])
    seeds = [Mismatch.collect(mismatch_steps(field, y, paths.replace(noise_seed=seed))) for seed in (0, 1)]
    early, late, weighted = zip(
        *([m.per_time(heat)[0], m.per_time(heat)[-1], m.heatmap(heat)] for m in seeds), strict=False
    )
    contrast = [maps[0][defect].mean() / maps[0][~defect].mean() for maps in (early, late, weighted)]
    agreement = [np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] for maps in (early, late, weighted)]
    assert contrast[0] < 0.6 * contrast[2]
    assert agreement[1] < agreement[2] - 0.1 and agreement[2] < agreement[0] and agreement[0] > 0.95


@pytest.mark.parametrize("category", ["gear", "chip", "brick"])
def test_late_times_have_the_word_in_the_weighted_fisher_term_of_a_picture(category):
    """Notebook 04, section 4: once said to be balanced by r = 2."""
    model, items = load_model(EMBEDDED / "gaussian"), find_test_items(EMBEDDED / "examples" / category)
    y = model.view(category)(read_picture(next(item.path for item in items if not item.is_good)))
    times = interior_times(12)
    terms = exact_terms(model.field(category), image_law(y, default("04")["noise"]), times)
    gaps, weighted = np.array(
        [(one.fisher_divergence, t**2 * one.fisher) for t, one in zip(times, terms, strict=False)]
    ).T
    assert (np.diff(gaps) > 0).all() and weighted[-3:].sum() > weighted[:-3].sum()
    assert "balance that" not in "".join(cell.source for cell in find_notebook("04").node.cells)


def test_what_was_said_too_strongly_is_said_no_more():
    """Thresholds come from cross-fitted scores, which only nearly are those of new images; pixels win on some sets."""
    text = "".join(cell.source for book in all_notebooks() for cell in book.node.cells)
    assert "At most the stated share" not in text and "About the stated share" in text
    assert "sees more there" not in text and "depends on the pictures" in text


@pytest.mark.parametrize(("factor", "rounds", "slower"), [(1, 3, []), (2, 3, ["field / view"]), (2, 1, [])])
def test_a_stage_slower_than_its_stored_ratio_in_every_round_is_named(factor, rounds, slower):
    """Notebook 06, section 2: times that have just the stored ratios, but for one stage in some rounds."""
    stored = json.loads((NOTEBOOKS / "speed_baseline.json").read_text())["ratios"]
    stages = ["decode", "view", "field", "aggregation"]
    parts = np.tile([stored.get(f"{stage} / view", 1.0) for stage in stages], (3, 1))
    others = [label.removeprefix("mismatch / ") for label in stored if label.startswith("mismatch / ")]
    spent = {label: {"all": parts.sum(1) / stored[f"mismatch / {label}"]} for label in others}
    parts[:rounds, 2] *= factor
    spent["mismatch"] = dict(zip(stages, parts.T, strict=True))
    space = {"spent": spent, "detectors": [*spent], "OURS": "mismatch", "products": {"mismatch": 1}}
    space |= {"per_product": 1 / stored["view / plain convolution"], "np": np, "json": json, "NOTEBOOKS": NOTEBOOKS}
    exec(next(cell.source for cell in find_notebook("06").node.cells if "slower = [" in cell.source), space)
    assert space["slower"] == slower and set(space["ratios"]) == set(stored)
