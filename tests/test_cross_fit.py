"""Cross-fitting: no field has seen the image it is asked about, and training asks that field."""

from __future__ import annotations

import pytest
import torch
from conftest import PATHS, blob_tensors

from fmcore import fitting
from fmcore.cross_fit import CrossFit, cross_fit, deal
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.fitting import FitSettings, fit
from fmcore.training import TrainSettings, loss_per_image, start_training, train

NUMBERED = torch.arange(11.0)[:, None, None, None].expand(11, 3, 4, 4)
IMAGES, LABELS = blob_tensors(range(12)), torch.tensor([0] * 7 + [1] * 5)


def numbers(images):
    return set(images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(("count", "folds"), [(11, 5), (4, 5), (20, 2), (3, 1)])
def test_every_image_is_in_one_fold_and_outside_all_others(count, folds):
    dealt = list(deal(count, folds, seed=3))
    assert len(dealt) == min(count, folds)
    assert sorted(torch.cat([held for held, _ in dealt]).tolist()) == list(range(count))
    assert all(sorted([*held.tolist(), *rest.tolist()]) == list(range(count)) for held, rest in dealt)
    assert max(len(held) for held, _ in dealt) - min(len(held) for held, _ in dealt) <= 1
    again = list(deal(count, folds, seed=3))
    assert all(
        torch.equal(a, b) for one, other in zip(dealt, again, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_the_field_of_an_image_has_seen_all_others_but_its_fold():
    found = cross_fit(NUMBERED, numbers, folds=5)  # a "field" that tells what it was fitted to
    assert len(found.fields) == 5
    for image, field in enumerate(found.of.tolist()):
        assert image not in found.fields[field] and len(found.fields[field]) >= 8
    joined = CrossFit.joined([found, cross_fit(NUMBERED[:3] + 100, numbers, folds=5)])
    assert len(joined.fields) == 8 and joined.of[:11].tolist() == found.of.tolist()
    for image, field in enumerate(joined.of[11:].tolist()):
        assert joined.fields[field] == {100.0, 101.0, 102.0} - {100.0 + image}


def test_two_images_are_too_few_to_deal():
    found = cross_fit(NUMBERED[:2], numbers, folds=5)
    assert found.fields == [{0.0, 1.0}] and found.of.tolist() == [0, 0]


def test_the_loss_of_an_image_is_that_of_a_network_with_its_field():
    fields = [fit_gaussian(IMAGES[:6]), fit_gaussian(IMAGES[6:])]
    settings = UNetSettings(size=32, patch=4, widths=(16,))

    def network(field):
        torch.manual_seed(1)
        made = VelocityUNet(settings, [field])
        torch.nn.init.normal_(made.core.head.weight)  # zero at first, which would hide the network's input
        return made

    x0, t, labels = torch.randn(4, 3, 32, 32), torch.tensor([0.2, 0.5, 0.8, 0.9]), torch.zeros(4, dtype=torch.long)
    start = (fields, torch.tensor([0, 1, 1, 0]))
    with torch.no_grad():
        each = [loss_per_image(network(field), x0, IMAGES[:4], t, labels) for field in fields]
        crossed = loss_per_image(network(fields[0]), x0, IMAGES[:4], t, labels, start=start)
    torch.testing.assert_close(crossed, torch.stack([each[0][0], each[1][1], each[1][2], each[0][3]]))
    assert not torch.allclose(each[0], each[1], rtol=0.01)


def trained(starts):
    torch.manual_seed(0)
    fields = [fit_gaussian(IMAGES[LABELS == i]) for i in (0, 1)]
    network = VelocityUNet(UNetSettings(size=32, categories=2, patch=4, widths=(16,)), fields)
    settings = TrainSettings(steps=3, batch=4, warmup=1)
    state = start_training(network, settings)
    list(train(state, IMAGES, LABELS, settings, starts=starts(fields)))
    return network.core.head.weight.detach()


def test_training_takes_the_start_of_each_image():
    own = trained(lambda _: None)
    assert torch.equal(own, trained(lambda fields: CrossFit(fields, LABELS)))
    assert not torch.equal(own, trained(lambda fields: CrossFit(fields, 1 - LABELS)))


def test_a_fit_trains_on_fields_that_have_not_seen_the_image_and_scores_with_one_that_has_seen_all(monkeypatch):
    given = []
    monkeypatch.setattr(
        fitting, "train", lambda *args, starts, **kw: given.append((args, starts)) or train(*args, **kw)
    )
    images = {"a": IMAGES[LABELS == 0], "b": IMAGES[LABELS == 1]}
    quick = FitSettings(size=32, paths=PATHS, steps=1, batch=2, widths=(16,), source="white")
    *_, last = fit(images, quick.replace(start_folds=5), held_out=images)
    (_, pool, labels, _), starts = given[0]
    assert len(starts.fields) == 10 and torch.equal(starts.of >= 5, labels == 1)
    for image, field in zip(range(12), starts.of.tolist(), strict=True):
        others = pool[(labels == labels[image]) & (starts.of != field)]
        torch.testing.assert_close(starts.fields[field].mean, fit_gaussian(others).mean)
    torch.testing.assert_close(last.model.gaussians[1].mean, fit_gaussian(images["b"]).mean)
    list(fit(images, quick, held_out=images))
    assert given[1][1] is None


def test_an_interrupted_fit_with_folds_ends_in_the_same_weights(tmp_path):
    settings = FitSettings(size=32, paths=PATHS, steps=4, batch=2, widths=(16,), start_folds=3)
    images = {"a": IMAGES}
    *_, whole = fit(images, settings)
    first = fit(images, settings, folder=tmp_path)
    next(record for record in first if record.stage == "training" and record.done == 2)
    first.close()
    *_, resumed = fit(images, settings, folder=tmp_path)
    expected = whole.model.network.core.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.network.core.state_dict().items())
    assert resumed.model.info.thresholds == whole.model.info.thresholds
