"""The networks are the assignment's and the published one, and their heat adds up to what they say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermsentry.diagnoses import CODES
from dermsentry.training.networks import (
    LITE,
    NETWORKS,
    REFUSING_NOTHING,
    RefusalWeights,
    accuracy,
    candidate_crossentropy,
    cnn,
    describe,
    efficientnet_lite,
    folded,
    middle_features,
)
from examples import pictures

PIXELS = pictures(("MEL", "NV", "SK"), size=40)


@pytest.fixture(scope="module", params=["cnn", "lite0", "lite2"])
def network(request: pytest.FixtureRequest) -> keras.Model:
    """With random weights everywhere, biases and batch normalisation too."""
    keras.utils.set_random_seed(0)
    made = NETWORKS[request.param](40)
    rng = np.random.default_rng(0)
    made.set_weights([w + rng.normal(0, 0.05, w.shape) ** 2 for w in made.get_weights()])
    return made


def test_heat_over_all_places_and_the_bias_is_the_logits(network: keras.Model) -> None:
    _, embedding, heat, *_ = (np.asarray(value) for value in describe(network, 1.7, REFUSING_NOTHING)(PIXELS))
    logits = np.asarray(network(PIXELS, training=False))
    bias = np.asarray(network.get_layer("logits").weights[1])
    scale = np.abs(logits).max()
    assert np.abs(bias).max() > 0
    if network.name == "cnn":
        assert np.abs(network.get_layer("hidden").get_weights()[1]).max() > 0
        assert (embedding == 0).any() or (embedding > 0).all()
    np.testing.assert_allclose(heat.sum(axis=(1, 2)) + bias, logits, rtol=1e-4, atol=1e-5 * scale)
    assert heat.shape[0] == 3
    assert heat.shape[3] == len(CODES)
    assert heat.std(axis=(1, 2)).max() > 0


def test_probability_is_of_the_logits_at_the_temperature(network: keras.Model) -> None:
    outputs = describe(network, 2.5, REFUSING_NOTHING)(PIXELS)
    probability, embedding, _, *scores = (np.asarray(value) for value in outputs)
    np.testing.assert_allclose(scores, 0, atol=1e-12)
    logits = np.asarray(network(PIXELS, training=False)).astype(float) / 2.5
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probability, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose((embedding @ kernel + bias) / 2.5, logits, rtol=1e-4, atol=1e-4)


def test_the_assignments_network_is_the_assignments() -> None:
    network = cnn(180)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [16, 32, 64]
    assert network.get_layer("hidden").units == 128
    assert network.count_params() == 23_584 + 22 * 22 * 64 * 128 + 128 + 129 * 9
    assert network.input.dtype == "uint8"


@pytest.mark.parametrize(
    ("name", "weights"), [("lite0", 4_652_008), ("lite1", 5_416_680), ("lite2", 6_092_072)]
)
def test_an_efficientnet_lite_has_the_published_number_of_weights(name: str, weights: int) -> None:
    """4.7, 5.4 and 6.1 million with ImageNet's 1,000 classes: less its head, and ours."""
    network = NETWORKS[name](64)
    assert network.name == name
    trained = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert trained - 1281 * 9 + 1281 * 1000 == weights
    assert not [layer for layer in network.layers if "se" in layer.name.split("_")]


@pytest.mark.parametrize("name", LITE)
def test_the_middle_is_the_end_of_the_fifth_stage(name: str) -> None:
    network = NETWORKS[name](64)
    ends = [layer.name for layer in network.layers if layer.name.startswith("block4")]
    assert ends[-1] == {"lite0": "block4c_add"}.get(name, "block4d_add")


def test_folded_it_computes_the_same_without_batch_normalisation(network: keras.Model) -> None:
    if network.name == "cnn":
        pytest.skip("it has no batch normalisation")
    plain = folded(network)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in plain.layers)
    expected = np.asarray(network(PIXELS, training=False))
    np.testing.assert_allclose(np.asarray(plain(PIXELS, training=False)), expected, rtol=1e-3)


def test_scaling_is_inside() -> None:
    for network, low, high in ((cnn(32), 0.0, 1.0), (efficientnet_lite("lite0", 32), -127 / 128, 1.0)):
        ends = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
        scaled = np.asarray(network.get_layer("rescaling")(ends))
        assert scaled[0].max() == pytest.approx(low)
        assert scaled[1].min() == pytest.approx(high)


@settings(max_examples=25)
@given(st.lists(st.lists(st.floats(-40, 40), min_size=9, max_size=9), min_size=1, max_size=4), st.data())
def test_with_one_candidate_the_loss_is_categorical_crossentropy(
    logits: list[list[float]], data: st.DataObject
) -> None:
    values = np.array(logits, np.float32)
    hot = np.eye(9, dtype=np.float32)[[data.draw(st.integers(0, 8)) for _ in logits]]
    expected = keras.losses.categorical_crossentropy(hot, values, from_logits=True)
    np.testing.assert_allclose(candidate_crossentropy(hot, values), expected, rtol=1e-4, atol=1e-4)


def test_with_several_candidates_their_probabilities_are_added() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (5, 9)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    hot = np.zeros((5, 9), np.float32)
    hot[:, [2, 6]] = 1
    expected = -np.log(shares[:, [2, 6]].sum(axis=1))
    np.testing.assert_allclose(candidate_crossentropy(hot, logits), expected, rtol=1e-5)
    everything = candidate_crossentropy(np.ones((5, 9), np.float32), logits)
    np.testing.assert_allclose(everything, np.zeros(5), atol=1e-5)


def test_accuracy_counts_any_candidate() -> None:
    logits = np.eye(9, dtype=np.float32)[[3, 5, 7]]
    hot = np.zeros((3, 9), np.float32)
    hot[0, 3] = hot[1, [5, 7]] = hot[2, 6] = 1
    assert np.asarray(accuracy(hot, logits)).tolist() == [1, 1, 0]


def test_middle_features_are_each_channels_mean_and_spread(network: keras.Model) -> None:
    found = middle_features(network, PIXELS, batch_size=2)
    middle = {
        "cnn": ["features"],
        "lite0": ["block3c_add", "block4c_add", "block5d_add"],
        "lite1": ["block3d_add", "block4d_add", "block5e_add"],
        "lite2": ["block3d_add", "block4d_add", "block5e_add"],
    }
    names = middle[network.name]
    start = 0
    for name in names:
        until = keras.Model(network.input, network.get_layer(name).output)
        places = until.predict_on_batch(PIXELS)
        means, spreads = np.split(found[:, start : start + 2 * places.shape[-1]], 2, axis=1)
        np.testing.assert_allclose(means, places.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(spreads, places.std(axis=(1, 2)), rtol=1e-3, atol=1e-4)
        start += 2 * places.shape[-1]
    assert found.shape == (3, start)


def test_the_scores_of_refusal_are_functions_of_the_middle_features(network: keras.Model) -> None:
    features = middle_features(network, PIXELS)
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, features.shape[1]).astype(np.float32)
    kernel /= np.abs(features @ kernel).max()
    mean = 0.3 * features.mean(axis=0)  # all of it would leave rounding, with random weights
    projection = rng.normal(0, 1, (features.shape[1], 4)).astype(np.float32)
    projection /= np.abs((features - mean) @ projection).max() + 1e-6
    weights = RefusalWeights(kernel, 0.3, mean, projection, 2.0, -1.0)
    no_lesion, unlike = (np.asarray(one) for one in describe(network, 1.0, weights)(PIXELS)[3:])
    np.testing.assert_allclose(no_lesion, 1 / (1 + np.exp(-(features @ kernel + 0.3))), atol=1e-4)
    distance = np.linalg.norm((features - mean) @ projection, axis=1)
    np.testing.assert_allclose(unlike, 1 / (1 + np.exp(-(2 * distance - 1))), atol=3e-3)
    assert no_lesion.std() > 0 or network.name in LITE  # whose random weights saturate


def test_a_folded_network_has_the_same_middle() -> None:
    network = efficientnet_lite("lite0", 40)
    expected = middle_features(network, PIXELS)
    np.testing.assert_allclose(middle_features(folded(network), PIXELS), expected, rtol=1e-3, atol=1e-4)
