"""predict: pictures in, masks at their sizes out, whatever is stopped, broken or cut into parts."""

import json

import numpy as np
import pytest
from PIL import Image

import fcn_jax
from fcn_jax.data.files.storage import turn_upright
from fcn_jax.inference.prediction_folder import PredictionFolder
from fcn_jax.ops.palette import full_palette

pytestmark = pytest.mark.usefixtures("plain_conv", "tiny_network")

NAMES = ["background", "cat", "dog"]


@pytest.fixture(scope="module")
def network(tmp_path_factory, tiny_network):
    """A file of a tiny network at random values, which tells its classes apart somehow."""
    net = fcn_jax.make("tiny_fcn4s", labels=NAMES)
    rng = np.random.default_rng(5)
    for kernel in (net.variables["params"]["score_fr"],):
        kernel["kernel"] = rng.normal(size=kernel["kernel"].shape).astype(np.float32)
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    net.save(path)
    return path


@pytest.fixture
def photos(tmp_path, rng):
    """A folder of pictures of several sizes and forms."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, size in {"a.jpg": (60, 90), "b.png": (91, 40), "more/c.png": (33, 33)}.items():
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).save(folder / name)
    return folder


def read_masks(folder):
    return {
        path.relative_to(folder / "masks").as_posix(): np.asarray(Image.open(path))
        for path in sorted((folder / "masks").rglob("*.png"))
    }


def test_masks_are_what_the_network_says_at_the_size_of_the_picture(
    launch, network, photos, tmp_path
):
    out = tmp_path / "out"
    code, stdout, stderr = launch(
        "predict", str(photos), f"--network={network}", f"--output={out}", "--size_multiple=32",
        "--probabilities",
    )  # fmt: skip
    assert code == 0, stderr
    net = fcn_jax.load(network)
    masks = read_masks(out)
    assert list(masks) == ["a.png", "b.png", "more/c.png"]
    for path in (photos / "a.jpg", photos / "b.png", photos / "more" / "c.png"):
        name = path.relative_to(photos).with_suffix("")
        mask = masks[f"{name}.png"]
        assert mask.shape == Image.open(path).size[::-1]
        np.testing.assert_array_equal(mask, net.predict(path))
        saved = np.load(out / "probabilities" / f"{name}.npz")["probabilities"]
        np.testing.assert_allclose(saved, net.probabilities(path), atol=1e-3)
        assert Image.open(out / "overlays" / f"{name}.jpg").width >= mask.shape[1]
    picture = Image.open(out / "masks" / "a.png")
    assert picture.mode == "P"
    assert picture.getpalette() == full_palette(np.array(net.labels.colors)).ravel().tolist()
    assert f"{photos / 'a.jpg'}: 90x60, " in stdout and "compiled" in stdout
    assert "Traceback" not in stderr


def test_parts_are_the_whole_and_what_is_done_is_not_done_again(launch, network, photos, tmp_path):
    words = ["predict", str(photos), f"--network={network}", "--no_overlay"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert launch(*words, f"--output={whole}")[0] == 0
    for part in (3, 1, 2):
        code, stdout, _ = launch(*words, f"--output={parts}", f"--shard={part}/3")
        assert code == 0 and stdout.startswith(str(photos)) and "1 picture segmented" in stdout
    expected, found = read_masks(whole), read_masks(parts)
    assert expected.keys() == found.keys() and len(found) == 3
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask)
    times = {path: path.stat().st_mtime_ns for path in (whole / "masks").rglob("*.png")}
    (whole / "masks" / "b.png").unlink()
    code, stdout, stderr = launch(*words, f"--output={whole}")
    assert "2 of 3 pictures are done already" in stderr and "1 picture segmented" in stdout
    again = {path: path.stat().st_mtime_ns for path in (whole / "masks").rglob("*.png")}
    assert {path for path in times if times[path] != again[path]} == {whole / "masks" / "b.png"}
    assert not list((whole / "overlays").rglob("*"))
    # Other predictions are not mixed with these.
    code, _, stderr = launch(*words, f"--output={whole}", "--flip")
    assert code == 2 and "looks={}" in stderr and "another --output" in stderr


def test_a_stopped_job_goes_on_and_never_sees_its_own_masks(launch, network, photos, monkeypatch):
    words = ["predict", ".", f"--network={network}", "--output=predictions"]
    monkeypatch.chdir(photos)
    write, written = PredictionFolder.write, []

    def stop(self, photo, *args, **options):
        if written:
            raise KeyboardInterrupt
        written.append(photo.name)
        write(self, photo, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PredictionFolder, "write", stop)
        assert launch(*words)[0] == 130
    assert list(read_masks(photos / "predictions")) == [f"{written[0]}.png"]
    code, stdout, stderr = launch(*words)
    assert code == 0 and "1 of 3 pictures are done already" in stderr
    assert "2 pictures segmented" in stdout
    assert list(read_masks(photos / "predictions")) == ["a.png", "b.png", "more/c.png"]
    assert not list(photos.rglob("*.tmp"))


def test_a_broken_picture_is_named_and_the_others_are_done(launch, network, photos, tmp_path):
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(photos / "deep.png")
    out = tmp_path / "out"
    code, stdout, stderr = launch("predict", str(photos), f"--network={network}", f"--output={out}")
    assert code == 1 and "3 pictures segmented" in stdout
    assert all(f"skipped: {photos / name}" in stderr for name in ("broken.jpg", "text.png"))
    assert "more than 8 bits" in stderr and "3 could not be read" in stderr
    assert list(read_masks(out)) == ["a.png", "b.png", "more/c.png"]


def test_a_turned_photo_is_seen_upright_and_its_mask_lies_on_its_pixels(
    launch, network, photos, tmp_path
):
    upright = np.asarray(Image.open(photos / "b.png"))
    exif = Image.Exif()
    exif[274] = 6
    stored = tmp_path / "turned.png"
    Image.fromarray(upright.swapaxes(0, 1)[::-1]).save(stored, exif=exif)
    np.testing.assert_array_equal(turn_upright(np.asarray(Image.open(stored)), 6), upright)
    out = tmp_path / "out"
    words = [f"--network={network}", f"--output={out}"]
    code, _, stderr = launch("predict", str(stored), str(photos / "b.png"), *words)
    assert code == 0, stderr
    masks = read_masks(out)
    assert len(np.unique(masks["b.png"])) > 1
    np.testing.assert_array_equal(turn_upright(masks["turned.png"], 6), masks["b.png"])
    assert Image.open(out / "masks" / "turned.png").getexif()[274] == 6
    assert Image.open(out / "overlays" / "turned.jpg").getexif().get(274, 1) == 1


def test_a_list_and_a_pattern_name_pictures_and_the_server_gets_its_layout(
    launch, network, photos, tmp_path
):
    names = tmp_path / "photos" / "list.txt"
    names.write_text("a.jpg\nmore/c\n")
    out = tmp_path / "out"
    words = [f"--network={network}", f"--output={out}"]
    code, _, stderr = launch("predict", str(names), *words, "--voc_server=comp6_test")
    assert code == 2 and "without folders, not more/c" in stderr
    code, _, stderr = launch(
        "predict", str(photos / "[ab].*"), str(photos / "a.jpg"), *words, "--voc_server=comp6_test"
    )
    assert code == 0, stderr
    served = out / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    assert sorted(path.name for path in served.iterdir()) == ["a.png", "b.png"]
    assert json.loads((out / "predict.json").read_text())["classes"] == NAMES


def test_a_large_picture_is_read_in_rows(launch, network, photos, tmp_path, monkeypatch):
    pytest.importorskip("pyvips")
    from fcn_jax.commands import predict

    words = ["predict", str(photos), f"--network={network}", "--window=64"]
    assert launch(*words, f"--output={tmp_path / 'whole'}")[0] == 0
    monkeypatch.setattr(predict, "_LARGE", 0)
    code, _, stderr = launch(*words, f"--output={tmp_path / 'rows'}")
    assert code == 0, stderr
    whole, rows = read_masks(tmp_path / "whole"), read_masks(tmp_path / "rows")
    assert rows.keys() == whole.keys()
    for name, mask in whole.items():
        if name != "a.png":  # decoders of JPEG differ in the last bit
            np.testing.assert_array_equal(rows[name], mask)
    assert not list(tmp_path.rglob("*.tmp"))
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:400])
    code, _, stderr = launch(*words, f"--output={tmp_path / 'cut'}")
    assert code == 1 and f"skipped: {photos / 'a.jpg'}" in stderr and "Traceback" not in stderr
    assert not (tmp_path / "cut" / "masks" / "a.png").exists()


@pytest.mark.parametrize(
    "words, answer",
    [
        (["nothing.jpg"], "there is no nothing.jpg"),
        (["PHOTOS/*.gif"], "holds no picture"),
        (["PHOTOS", "--shard=0/3"], "--shard=0/3 must be I/N"),
        (["PHOTOS", "--shard=4/3"], "from 1 to N"),
        (["PHOTOS", "--scales=big"], "--scales=big must be numbers"),
        (["PHOTOS", "--scales=99"], "from 0.05 to 8"),
        (["PHOTOS", "--crf=bi_wide=3"], "did you mean bi_w?"),
        (["--crf", "PHOTOS/a.jpg", "PHOTOS"], "write --crf=published"),
        (["PHOTOS", "--crf=bi_w=wide"], "bi_w=wide must be like 4.0"),
        (["PHOTOS", "--crf=bi_xy_std=0"], "bi_xy_std=0.0 must be positive"),
        (["PHOTOS", "--voc_server=best"], "must be like comp6_test"),
        (["PHOTOS", "--step=3"], "--step is of a run folder"),
        (["PHOTOS", "--network=PHOTOS"], "a run folder is given as --workdir"),
        (["PHOTOS", "--network=PHOTOS/a.jpg"], "a.jpg"),
        (["PHOTOS/a.jpg", "PHOTOS/twin"], "would both be called a"),
        (["PHOTOS/list.txt"], "line 2: there is no picture gone.jpg"),
    ],
)
def test_a_mistake_is_answered(launch, network, photos, tmp_path, monkeypatch, words, answer):
    monkeypatch.chdir(tmp_path)
    (photos / "list.txt").write_text("a.jpg\ngone.jpg\n")
    (photos / "twin").mkdir()
    (photos / "twin" / "a.png").write_bytes((photos / "b.png").read_bytes())
    words = [word.replace("PHOTOS", str(photos)) for word in words]
    if not any(word.startswith("--network") for word in words):
        words.append(f"--network={network}")
    code, stdout, stderr = launch("predict", *words)
    assert code == 2 and stdout == "" and answer in stderr
    assert len(stderr.strip().splitlines()) <= 3 and "Traceback" not in stderr
    assert not (tmp_path / "predictions").exists()
