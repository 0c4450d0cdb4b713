"""Training keeps frozen layers to the bit, repeats itself to the bit, and learns."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import open_by_class, open_by_split, save_images
from cxr.nets.inputs import batches
from cxr.nets.prediction import accuracy, mean_loss
from cxr.nets.torch_nets import output_layer_name
from cxr.training.loop import Settings, fit
from cxr.training.resume import hash_of
from small_trainings import CLASSES, CPU, SETTINGS, draw_images, new_net, train


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("images"), 30)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_frozen_layers_stay_to_the_bit_batch_norm_included(images, architecture):
    before = new_net(architecture).state_dict()
    after, _ = train(images, architecture, trainable="output_layer")
    head = output_layer_name(new_net(architecture))
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) != name.startswith(f"{head}."), name


def test_training_everything_moves_everything(images):
    before = new_net("resnet18").state_dict()
    after, _ = train(images)
    assert all(not torch.equal(after[name], before[name]) for name in after)


def test_same_seed_gives_the_same_bits(images):
    first, history = train(images, flip=True)
    again, history_again = train(images, flip=True)
    other, _ = train(images, flip=True, seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert [row["train_loss"] for row in history] == [row["train_loss"] for row in history_again]
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_it_learns_what_is_easy(images):
    _, history = train(images, epochs=25)
    assert max(row["val_accuracy"] for row in history) > 0.9


def test_the_kept_epoch_has_the_lowest_validation_loss(images):
    data = open_by_class(images, CLASSES)
    seen = []
    net = new_net("resnet18")
    state, history = fit(
        net, data, data, Settings(**SETTINGS | {"epochs": 4, "learning_rate": 0.3}), CPU,
        report=lambda history: seen.append({k: v.clone() for k, v in net.state_dict().items()}),
    )  # fmt: skip
    best = int(np.argmin([row["val_loss"] for row in history]))
    assert all(torch.equal(state[name], seen[best][name]) for name in state)


def test_patience_stops_early(images):
    _, history = train(images, epochs=10, learning_rate=3.0, patience=1)
    losses = [row["val_loss"] for row in history]
    assert len(losses) < 10
    assert len(losses) - 1 - int(np.argmin(losses)) == 1


def test_infinite_loss_names_the_images(images):
    with pytest.raises(InputError, match=r"loss is nan at epoch .* for the images .*\.png"):
        train(images, epochs=5, learning_rate=1e30)


def test_a_last_batch_of_one_joins_the_one_before():
    assert [len(batch) for batch in batches(np.arange(19), 9)] == [9, 10]
    assert [len(batch) for batch in batches(np.arange(20), 9)] == [9, 9, 2]
    assert sorted(np.concatenate(batches(np.arange(19), 9))) == list(range(19))


def test_loss_and_accuracy_by_hand():
    logits, labels = np.zeros((1, 2), np.float32), np.array([[0, 1]], np.float32)
    assert mean_loss(logits, labels) == pytest.approx(np.log(2))
    assert accuracy(np.array([[0.1, 0.2]]), labels) == 1
    assert accuracy(np.array([[1.0, -1.0], [1, 1]]), np.array([[1, 0], [1, 1]])) == 1


def test_images_of_a_split_come_from_many_arrays(tmp_path):
    pixels = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    for number in range(2):
        names = [f"{2 * number}.png", f"{2 * number + 1}.png"]
        save_images(
            tmp_path / f"{number}.npy", pixels[2 * number :][:2], pd.DataFrame({"image": names})
        )
    table = pd.DataFrame(
        {"image": ["3.png", "0.png", "2.png", "1.png"], "split": ["train", "train", "val", "test"],
         "Mass": [1, 0, 1, 0], "Edema": [0, 0, 1, 1]}
    )  # fmt: skip
    table.to_csv(tmp_path / "split.csv", index=False)
    paths = [tmp_path / "0.npy", tmp_path / "1.npy"]
    data = open_by_split(paths, tmp_path / "split.csv", "train", ["Mass", "Edema"])
    assert data.pixels([0, 1])[:, 0, 0].tolist() == [3, 0]
    assert data.pixels([1])[:, 0, 0].tolist() == [0]
    assert data.labels.tolist() == [[1, 0], [0, 0]]
    assert hash_of(*data.content()) != hash_of(*data.content()[1:])
    with pytest.raises(InputError, match="2 images are in no archive, first: 2"):
        open_by_split(paths[:1], tmp_path / "split.csv", "train", ["Mass"])
