"""Segments pictures with a trained network: masks in colours, overlays, probabilities."""

import argparse
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fcn_jax.commands import looks
from fcn_jax.errors import UserError, counted

if TYPE_CHECKING:
    import numpy as np

HELP = "segment pictures with a trained network: masks, overlays with a legend, probabilities"
EXAMPLES = """\
python launch.py predict photo.jpg --workdir=runs/custom
python launch.py predict photos/ more/*.png list.txt --network=fcn8s.safetensors --output=out
python launch.py predict photos/ --workdir=runs/custom --scales=0.75,1,1.25 --flip --max_size=1024
python launch.py predict photos/ --workdir=runs/custom --shard=2/8
"""

KEEPS_GOING = True

_FEW = 10  # pictures of which each gets a line
_LARGE = 8192**2  # pixels of a picture that is read row by row
_READ_AHEAD = 4
_COMPETITION = r"comp[56]_\w+"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURES",
        help="a picture, a folder, a pattern ('photos/**/*.jpg'), or a list of paths (.txt, .csv)",
    )
    looks.add_network_arguments(parser, default_step="best")
    parser.add_argument(
        "--output", default="predictions", metavar="FOLDER", help="where to (predictions)"
    )
    parser.add_argument("--no_overlay", action="store_true", help="masks alone")
    parser.add_argument(
        "--probabilities", action="store_true", help="write them too: .npz, float16 [h, w, classes]"
    )
    parser.add_argument(
        "--voc_server",
        default="",
        metavar="COMPETITION",
        help="write the masks as the server of PASCAL VOC wants them, such as comp6_test",
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="do the I-th of N parts (1/N to N/N), one on each machine"
    )
    looks.add_arguments(parser)
    parser.add_argument(
        "--size_multiple",
        type=int,
        metavar="PIXELS",
        help="pad sides to multiples of it, 32 as evaluations do; left out, to one of few sizes",
    )


def run(args: argparse.Namespace) -> int:
    how = looks.read_looks(args)
    if args.size_multiple is not None:
        how["size_multiple"] = args.size_multiple
    crf = looks.read_crf(args)
    part = _read_shard(args.shard)
    if args.voc_server and not re.fullmatch(_COMPETITION, args.voc_server):
        raise UserError(f"--voc_server={args.voc_server} must be like comp6_test or comp5_val")

    from fcn_jax.atomic_file import local_path
    from fcn_jax.data.files.photos import list_photos
    from fcn_jax.inference.inference import Inference
    from fcn_jax.inference.prediction_folder import PredictionFolder
    from fcn_jax.train import parallel
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.interrupt import Interruption
    from fcn_jax.train.progress import Progress

    output = local_path(args.output)
    photos = [  # predictions may lie below the folder of the pictures
        photo
        for photo in list_photos(args.pictures)
        if not photo.path.resolve().is_relative_to(output.resolve())
    ]
    if args.voc_server and (nested := [photo.name for photo in photos if "/" in photo.name]):
        raise UserError(f"the VOC server takes names without folders, not {nested[0]}")
    photos = photos[part]
    net = looks.load_network(args)
    devices = parallel.get_devices()
    inference = Inference(net, devices, probabilities=crf is not None or args.probabilities, **how)
    folder = PredictionFolder(
        output,
        net.labels,
        {"network": _describe(net), "classes": list(net.labels.names), "looks": how, "crf": crf},
        overlays=not args.no_overlay and not args.voc_server,
        probabilities=args.probabilities,
        competition=args.voc_server,
    )
    todo = [photo for photo in photos if not folder.is_done(photo)]
    done = len(photos) - len(todo)
    if done:
        print(f"{done} of {counted(len(photos), 'picture')} are done already", file=sys.stderr)
    with (
        Progress() as progress,
        Interruption(progress),
        count_compilations() as compilations,
        progress.count("pictures", total=len(photos), done=done) as pictures,
    ):
        if todo:
            progress.say(
                f"{devices.count} x {devices.kind}: {net.section['name']} with "
                f"{net.labels.num_classes} classes; compiling for each of a few sizes ..."
            )
        work = _Work(inference, folder, crf, progress, pictures, tell=len(todo) <= _FEW)
        work.do(todo)
    places = [folder.masks, folder.overlays, folder.probabilities]
    count = len(todo) - len(work.broken)
    print(
        f"{counted(count, 'picture')} segmented: "
        f"{', '.join(str(place) for place in places if place)}"
    )
    if todo:
        print(compilations)
    if work.broken:
        print(f"{len(work.broken)} could not be read, see above", file=sys.stderr)
    return 1 if work.broken else 0


class _Work:
    """Pictures on their way from files to files.

    Attributes:
        broken: Pictures that could not be read.
    """

    def __init__(self, inference, folder, crf, progress, pictures, *, tell: bool):
        self.broken: list[Any] = []
        self._inference, self._folder, self._crf = inference, folder, crf
        self._progress, self._pictures, self._tell = progress, pictures, tell

    def do(self, photos: list) -> None:
        """Segments all of them."""
        from concurrent.futures import ThreadPoolExecutor

        # Decoding, the CRF and compressing let go of the interpreter's lock.
        with ThreadPoolExecutor() as self._pool:
            writing = []
            for (photo, image, orientation), output in self._inference.predict_all(
                self._read_all(photos)
            ):
                writing.append(self._pool.submit(self._finish, photo, image, orientation, output))
                while len(writing) > _READ_AHEAD:
                    self._note(writing.pop(0).result())
            for future in writing:
                self._note(future.result())

    def _read_all(self, photos: list) -> Iterator[tuple[tuple, "np.ndarray"]]:
        from fcn_jax.data.files.problems import Problem
        from fcn_jax.data.files.storage import turn_upright

        reading = []
        for photo in [*photos, *[None] * _READ_AHEAD]:
            reading.append((photo, photo and self._pool.submit(_read, photo.path)))
            if len(reading) <= _READ_AHEAD:
                continue
            photo, future = reading.pop(0)
            if photo is None:
                continue
            try:
                file = future.result()
                if file is None:
                    self._segment_rows(photo)
                    continue
            except (Problem, OSError) as error:
                self.broken.append(photo)
                self._progress.say(f"skipped: {error}")
                self._note(None)
                continue
            upright = turn_upright(file.pixels, file.orientation)
            yield (photo, file.pixels, file.orientation), upright

    def _finish(self, photo, image, orientation: int, output: "np.ndarray") -> str:
        """Writes what the network says of a picture; returns a line about it."""
        import numpy as np

        from fcn_jax.data.files.storage import turn_back, turn_upright
        from fcn_jax.ops.dense_crf import dense_crf

        probabilities = None
        if output.ndim == 3:
            if self._crf is not None:
                output = dense_crf(turn_upright(image, orientation), output, **self._crf)
            probabilities = turn_back(output, orientation)
            output = output.argmax(axis=-1).astype(np.uint8)
        pred = turn_back(output, orientation)
        self._folder.write(photo, image, pred, probabilities=probabilities, orientation=orientation)
        return self._describe(photo, np.bincount(pred.ravel()), pred.shape)

    def _segment_rows(self, photo) -> None:
        """Segments a picture that is too large for memory, in stripes."""
        import numpy as np

        from fcn_jax.data.files.picture_rows import PictureRows
        from fcn_jax.data.files.problems import Problem

        if self._crf is not None or self._folder.probabilities:
            raise Problem(
                f"{photo.path} is too large for --crf and --probabilities", kind="large picture"
            )
        rows = PictureRows(photo.path)
        counts = np.zeros(256, np.int64)
        with (
            self._folder.collect(photo, height=rows.height, width=rows.width) as stripes,
            self._progress.count(photo.path.name, total=rows.height) as lines,
        ):
            for pred in self._inference.predict_rows(_Told(rows, stripes)):
                stripes.take_pred(pred)
                counts += np.bincount(pred.ravel(), minlength=256)
                lines.reach(lines.done + len(pred))
        self._note(self._describe(photo, counts, (rows.height, rows.width)))

    def _describe(self, photo, counts: "np.ndarray", size: tuple[int, int]) -> str:
        import numpy as np

        from fcn_jax.inference.overlay import format_share

        names = self._inference.net.labels.names
        shares = [
            f"{names[k]} {format_share(counts[k] / counts.sum())}"
            for k in np.argsort(-counts)
            if counts[k]
        ]
        return f"{photo.path}: {size[1]}x{size[0]}, {', '.join(shares)}"

    def _note(self, line: str | None) -> None:
        self._pictures.reach(self._pictures.done + 1)
        if line and self._tell:
            print(line, flush=True)


class _Told:
    """Rows of a picture, of which the prediction's folder is told."""

    def __init__(self, rows, stripes):
        self.height, self.width = rows.height, rows.width
        self._rows, self._stripes = rows, stripes

    def read(self, num_rows: int) -> "np.ndarray":
        rows = self._rows.read(num_rows)
        self._stripes.take_rows(rows)
        return rows


def _read(path):
    """Reads a picture; None if it is so large that its rows have to be read."""
    from fcn_jax.data.files.pictures import read_image_file, read_image_size

    height, width = read_image_size(path)
    return read_image_file(path) if height * width <= _LARGE else None


def _describe(net) -> str:
    """Says which network it is; the last word changes with any of its numbers."""
    import zlib

    import numpy as np

    total = 0
    for name, array in sorted(net.arrays.items()):
        total = zlib.crc32(np.ascontiguousarray(array), zlib.crc32(name.encode(), total))
    words = [net.section["name"], *map(str, (net.origin.get("run"), net.origin.get("step")))]
    return " ".join([*words, f"{total:08x}"])


def _read_shard(text: str | None) -> slice:
    if text is None:
        return slice(None)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard={text} must be I/N with I from 1 to N, such as 1/3, 2/3 and 3/3")
    return slice(int(match[1]) - 1, None, int(match[2]))
