"""Which queries a camera looks at: the form with only those it sees against the form with all and a mask."""

import pytest
import torch

from bevkit.models.layers.deformable_attention import CameraAttention
from bevkit.models.layers.seen_queries import EveryQuery, SeenQueries

RIGS, CAMERAS, QUERIES, ANCHORS = 2, 3, 13, 4
FORMS = {"seen": SeenQueries(), "capacity": SeenQueries((0.8, 3))}


@pytest.fixture
def sight_inputs():
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(RIGS, CAMERAS, QUERIES, ANCHORS, 2, generator=generator)
    visible = torch.rand(RIGS, CAMERAS, QUERIES, generator=generator) < 0.4
    visible[0, 1] = False  # a camera that sees nothing
    visible[1, :, 5] = True  # a query that all cameras see
    visible[1, :, 6] = False  # and one that none sees
    return places, visible


def found_by(form, places, visible, spreading):
    """What collect gives for cameras that find ``spreading`` of what they were given."""
    plan = form.plan(places, visible)
    sight = form.sight(*plan[1:])
    return sight.collect(spreading(sight, plan.places.flatten(0, 1)))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_only_those_seen_give_what_all_with_a_mask_give(form, sight_inputs):
    queries = torch.randn(RIGS, QUERIES, 5)

    def spreading(sight, places):  # depends on the query and on its places in this camera
        return sight.spread(queries) * places.sum(dim=(2, 3)).unsqueeze(-1)

    assert torch.allclose(found_by(form, *sight_inputs, spreading), found_by(EveryQuery(), *sight_inputs, spreading))


@pytest.mark.parametrize("form", [EveryQuery(), *FORMS.values()])
def test_it_is_the_mean_over_the_cameras_that_see(form, sight_inputs):
    places, visible = sight_inputs
    ones = found_by(form, places, visible, lambda sight, part: torch.ones(*part.shape[:2], 1))
    assert torch.allclose(ones[..., 0], visible.any(dim=1).float())
    plan = form.plan(places, visible)
    wanted = (torch.arange(QUERIES) % 2).float().expand(RIGS, -1)
    sight = form.sight(*plan[1:]).only(wanted)
    ones = sight.collect(torch.ones(RIGS * CAMERAS, plan.places.shape[2], 1))
    assert torch.allclose(ones[..., 0], visible.any(dim=1) * wanted)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_attention_and_its_gradients_agree(form, sight_inputs):
    torch.manual_seed(0)
    places, visible = sight_inputs
    attention = CameraAttention(8, heads=2, levels=2, anchors=ANCHORS, points_per_anchor=2)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    query = torch.randn(RIGS, QUERIES, 8)
    rows = torch.randn(RIGS * CAMERAS, 4 * 5 + 2 * 3, 8, requires_grad=True)
    results = []
    for one in (EveryQuery(), form):
        plan = one.plan(places, visible)
        out = attention(query, rows, [(4, 5), (2, 3)], plan.places.flatten(0, 1), one.sight(*plan[1:]))
        results.append((out, *torch.autograd.grad(out.square().sum(), (rows, *attention.parameters()))))
    for mine, theirs in zip(*results):
        assert torch.allclose(mine, theirs, atol=1e-4, rtol=1e-4)


def test_capacity_fixes_shapes_and_says_what_it_lacks(sight_inputs):
    places, visible = sight_inputs
    nothing = torch.zeros_like(visible)
    form = SeenQueries((0.8, 3))
    assert [part.shape for part in form.plan(places, visible)] == [part.shape for part in form.plan(places, nothing)]
    with pytest.raises(ValueError, match=r"set export_capacity to \(1\.0, 3\)"):
        form.plan(places, torch.ones_like(visible))
    with pytest.raises(ValueError, match="cameras a query"):
        SeenQueries((1.0, 1)).plan(places, visible)
