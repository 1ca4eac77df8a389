"""Video files as frames with their times. ffmpeg reads and writes them; what it complains of is an error."""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from simedit.coding import Coding
from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.ffmpeg import input_of, reason, running

_LENGTH = re.compile(r"  Duration: (\d+):(\d+):([\d.]+)")
_RATE = re.compile(r"config in time_base: .*frame_rate: (\d+)/(\d+)")
_PIXELS = re.compile(r" n: +\d.* fmt:(\w+) ")
_TRACK = re.compile(r"Stream #0:\d+.*: Video: (?!.*attached pic)")
_TRANSPARENT = re.compile(r"yuva|ya\d|rgba|bgra|argb|abgr|gbrap|pal8|ayuv|vuya")
_HDR = re.compile("color_trc:(smpte2084|arib-std-b67)")
_AS_THEY_ARE = ("-fps_mode", "passthrough", "-enc_time_base", "demux")
"""Each frame once, at its time, in the clock it comes with."""
_OFF = 0.002
"""Seconds that a written frame may be from its time: Matroska keeps milliseconds."""
_USUAL = Coding()


class _GaveUp(Exception):
    """ffmpeg takes no more; it has said why."""


@dataclass(frozen=True)
class Timing:
    """When frames are shown.

    Attributes:
        ticks: of each frame, int64 [N], rising.
        tick: seconds of one.
        last: ticks that the last frame lasts.
    """

    ticks: np.ndarray
    tick: Fraction
    last: int = 1

    def seconds(self) -> np.ndarray:
        """Of each frame, float64 [N]."""
        return self.ticks * float(self.tick)

    @classmethod
    def steady(cls, frames: int, rate: int | Fraction) -> Timing:
        """So many frames, `rate` a second."""
        return cls(np.arange(frames), 1 / Fraction(rate))


@dataclass(frozen=True)
class Video:
    """A video that was read once from end to end.

    Attributes:
        size: height and width of its frames as shown, pixels.
        timing: when its frames are shown.
        aspect: width to height of a pixel.
        transparent: whether its pixels can be.
    """

    path: Path
    size: tuple[int, int]
    timing: Timing
    aspect: Fraction
    transparent: bool

    def __len__(self) -> int:
        return len(self.timing.ticks)


def probe(path: Path) -> Video:
    """Read a video from end to end and say what it holds.

    Raises:
        SimeditError: no video, a damaged one, one of several tracks or of frames of several sizes, or HDR.
    """
    arguments = ["-v", "error", *input_of(path), *_AS_THEY_ARE, "-f", "framecrc", "-"]
    with running(arguments, stdout=subprocess.PIPE) as (process, errors):
        assert process.stdout is not None
        lines = process.stdout.read().decode().splitlines()
    facts = dict(line[1:].split(" 0: ") for line in lines if " 0: " in line)
    rows = [[int(part, 0) for part in line.split(",")[2:5]] for line in lines if not line.startswith("#")]
    if process.returncode or errors or not rows:
        raise SimeditError(f"cannot read the video {path}: {reason(errors) or 'it holds no frames'}")
    # Apart from the errors: in the midst of what showinfo says, one of another thread's is not marked as one.
    arguments = [*input_of(path), "-vf", "showinfo=checksum=0", "-frames:v", "1", "-f", "null", "-"]
    with running(arguments) as (_, said):
        pass
    head = "".join(said)
    if _HDR.search(head):
        raise SimeditError(f"the video {path} is HDR: convert it to SDR first")
    if (tracks := len(_TRACK.findall(head.partition("Stream mapping:")[0]))) > 1:
        raise SimeditError(f"the video {path} holds {tracks} tracks of pictures: give one that holds one")
    if len({size for _, _, size in rows}) > 1:
        raise SimeditError(f"the frames of the video {path} change their size: convert it to one size first")
    width, height = map(int, facts["dimensions"].split("x"))
    rate, pixels, length = (found.search(head) for found in (_RATE, _PIXELS, _LENGTH))
    timing = _timing(
        [row[:2] for row in rows],
        Fraction(facts["tb"]),
        Fraction(int(rate[1]), int(rate[2]) or 1) if rate else Fraction(0),
        int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else 0.0,
    )
    aspect = [int(part) or 1 for part in facts["sar"].split("/")]
    transparent = pixels is not None and _TRANSPARENT.search(pixels[1]) is not None
    return Video(path, (height, width), timing, Fraction(*aspect), transparent)


def read(video: Video) -> Generator[np.ndarray, None, None]:
    """The frames, uint8 [H, W, 3] each, RGB; what is transparent is laid on white.

    Raises:
        SimeditError: the file is not what it was.
    """
    (height, width), kind = video.size, "rgba" if video.transparent else "rgb24"
    count = height * width * (4 if video.transparent else 3)
    arguments = ["-v", "error", *input_of(video.path), *_AS_THEY_ARE]
    arguments += ["-f", "rawvideo", "-pix_fmt", kind, "-"]
    with running(arguments, stdout=subprocess.PIPE) as (process, said):
        assert process.stdout is not None
        frames = 0
        while len(data := process.stdout.read(count)) == count:
            frames += 1
            frame = np.frombuffer(data, np.uint8).reshape(height, width, -1)
            yield _on_white(frame) if video.transparent else frame
    if process.returncode or said or frames != len(video):
        raise SimeditError(f"cannot read the video {video.path}: {reason(said) or 'it has changed'}")


@contextlib.contextmanager
def writing(
    path: Path,
    size: tuple[int, int],
    timing: Timing,
    aspect: Fraction = Fraction(1),
    *,
    coding: Coding = _USUAL,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Inside, each call adds a frame, uint8 [H, W, 3]; the file appears at the end, whole and checked.

    Unless `coding` says otherwise it is H.264 in BT.709 colours of limited range, and says so, without sound:
    what players expect.

    Args:
        size: height and width of the frames, pixels.
        timing: when they are shown.
        aspect: width to height of a pixel.
        coding: how they are encoded.

    Raises:
        SimeditError: it cannot be written, or what was written is not what was given.
    """
    with whole(path) as partial:
        arguments = _encoding(size, timing, aspect, coding)
        count = 0
        with running([*arguments, f"file:{partial}"], stdin=subprocess.PIPE) as (process, said):

            def send(data: bytes) -> None:
                assert process.stdin is not None
                try:
                    process.stdin.write(data)
                except BrokenPipeError:
                    raise _GaveUp from None

            def write(frame: np.ndarray) -> None:
                nonlocal count
                assert (frame.dtype, frame.shape) == (np.uint8, (*size, 3))
                send(struct.pack("<IQ", frame.nbytes, int(timing.ticks[count])) + frame.tobytes())
                count += 1

            with contextlib.suppress(_GaveUp):
                clock = timing.tick.denominator, timing.tick.numerator
                send(struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"RGB\x18", size[1], size[0], *clock, 0, 0))
                yield write
        if process.returncode or said:
            raise SimeditError(
                f"cannot write the video {path}: {reason(said) or f'ffmpeg ended with {process.returncode}'}"
            )
        check(path, partial, timing)


def _encoding(size: tuple[int, int], timing: Timing, aspect: Fraction, coding: Coding) -> list[str]:
    ratio = f"setsar={aspect.numerator}/{aspect.denominator}"
    # Frames come with the time they begin at, so that only the last one's length is unknown.
    end = float((timing.ticks[-1] - Fraction(1, 2)) * timing.tick)
    lasts = f"if(gt(PTS*TB,{end!r}),{float(timing.last * timing.tick)!r}/TB,DURATION)"
    return [
        *("-v", "error", "-y", "-c:v", "rawvideo", "-f", "ivf", "-i", "-"),
        *("-vf", f"{coding.filters(size)},{ratio}", *coding.encoder(), *_AS_THEY_ARE),
        *("-bsf:v", f"setts=pts=PTS:dts=DTS:duration='{lasts}'"),
    ]


def check(path: Path, written: Path, timing: Timing) -> None:
    """Read what was written: an exit code alone does not tell of a disk that filled up."""
    wanted, found = timing.seconds(), probe(written).timing.seconds()
    if len(wanted) != len(found):
        raise SimeditError(f"cannot write the video {path}: it took {len(found)} of {len(wanted)} frames")
    if np.abs((found - found[0]) - (wanted - wanted[0])).max() > _OFF:
        raise SimeditError(f"cannot write the video {path}: its kind cannot keep its frames' times, .mp4 can")


def _timing(shown: list[list[int]], base: Fraction, rate: Fraction, length: float) -> Timing:
    """The frames' times in the container's clock, or in 1 / rate where that fits all.

    Args:
        shown: of each frame, when it begins and how long it lasts, in ticks.
        base: seconds of a tick.
        rate: frames a second as the header says, 0 where it says nothing.
        length: seconds of the video as the header says, 0 where it says nothing.
    """
    usual = max(1, round(1 / (rate * base))) if rate else 1
    ticks = np.array([begin for begin, _ in shown], np.int64)
    for i in range(1, len(ticks)):
        ticks[i] = max(ticks[i], ticks[i - 1] + 1)
    ticks -= min(0, ticks[0])
    # Where frames are stored out of order, the last one's own length can be that of another: the header's
    # length, which is that of the sound too, bounds it.
    left = round(Fraction(length + 0.01) / base) - int(ticks[-1])
    last = max(usual, min(shown[-1][1], left))
    if rate:  # a container's clock may be too coarse for the rate: what is steady is to stay so
        steps = np.array([round(int(tick) * base * rate) for tick in ticks])
        fits = np.abs(steps * float(1 / rate) - ticks * float(base)).max() <= float(base)
        if fits and (np.diff(steps) > 0).all():
            return Timing(steps, 1 / rate, max(1, round(last * base * rate)))
    return Timing(ticks, base, last)


def _on_white(frame: np.ndarray) -> np.ndarray:
    alpha = frame[..., 3:].astype(np.uint16)
    return ((frame[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
