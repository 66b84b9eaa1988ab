"""Live video: what comes in by files, pipes and sockets goes out in time; nothing here depends on how fast that is."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("av")

import itertools

import av
from clips import contents, frames_of, picture, write_clip

from sr_lab.base.signals import Stopped, handled
from sr_lab.cli import main
from sr_lab.images import resize_bicubic
from sr_lab.inference.stream import target_of
from sr_lab.inference.video import VideoError
from sr_lab.inference.video.facts import read_facts
from sr_lab.inference.video.live.counters import Counters, telling
from sr_lab.inference.video.live.enlarging import LiveEnlarger
from sr_lab.inference.video.live.sink import format_of
from sr_lab.inference.video.live.source import FrameQueue, LiveFrame
from sr_lab.workflows.restore_live import restore_live
from sr_lab.workflows.video import LiveSettings, RestoredLive, VideoSettings

NEVER, AT_ONCE = 600.0, 1e-9
"""Bounds of latency that no frame, and every frame, exceeds."""


class White:
    """Makes everything white, so that its frames are told from classical ones; luma or colours."""

    metadata, scale = None, 2

    def __init__(self, num_channels: int = 1, *, then: Callable[[int], None] = lambda number: None) -> None:
        self.num_channels, self.then, self.asked = num_channels, then, 0

    def __call__(self, low: torch.Tensor) -> torch.Tensor:
        self.then(self.asked)
        self.asked += 1
        return torch.full((*low.shape[:2], 2 * low.shape[2], 2 * low.shape[3]), 235 / 255)


def restored(
    input: str | Path, output: str | Path, *, models: list[Any] | None = None, settings: dict[str, Any] | None = None,
    **live: Any,
) -> RestoredLive:  # fmt: skip
    models = [White()] if models is None else models
    return restore_live(
        input=str(input),
        output=str(output),
        load=[lambda device, each=each: each for each in models],
        device=lambda: "cpu",
        settings=VideoSettings(**(settings or {})),
        live=LiveSettings(**{"latency": NEVER, "stall": 30.0, "reconnect": 0.0} | live),
    )


def whites(file: Path) -> int:
    return sum(float(frame.mean()) > 230 for frame in frames_of(file))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "low.ts", frames=6, rate=50, codec_options={"bf": "0"})


@contextlib.contextmanager
def fed(*parts: bytes | Callable[[], None]) -> Iterator[str]:
    """A named pipe that is given parts, one after the other, by a thread."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "pipe"
        os.mkfifo(pipe)

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as end:
                for part in parts:
                    part() if callable(part) else end.write(part)

        thread = threading.Thread(target=feed, daemon=True)
        thread.start()
        yield str(pipe)
        thread.join(10)


def test_a_file_comes_out_restored_with_its_times(clip, tmp_path):
    result = restored(clip, tmp_path / "large.ts")
    assert (result.counts.frames_in, result.counts.frames_out) == (6, 6)
    assert (result.counts.late, result.counts.degraded, result.counts.dropped) == (0, 0, 0)
    assert (result.size, result.problems) == ((96, 64), ())
    there = contents(tmp_path / "large.ts")
    assert there["size"] == (96, 64)
    assert [each - there["times"][0] for each in there["times"]] == [Fraction(number, 50) for number in range(6)]
    assert whites(tmp_path / "large.ts") == 6


def test_frames_that_would_be_late_are_enlarged_classically_and_none_is_lost(clip, tmp_path):
    result = restored(clip, tmp_path / "large.ts", latency=AT_ONCE)
    assert (result.counts.frames_out, result.counts.late, result.counts.dropped) == (6, 6, 0)
    assert whites(tmp_path / "large.ts") == 0
    low, large = frames_of(clip), frames_of(tmp_path / "large.ts")
    for before, after in zip(low, large, strict=True):
        wanted = resize_bicubic(torch.from_numpy(before).permute(2, 0, 1)[None].float(), scale=2.0)[0].permute(1, 2, 0)
        assert np.abs(after - wanted.clamp(0, 255).numpy())[8:-8, 8:-8].mean() < 4


@pytest.mark.parametrize("num_channels", [1, 3])
def test_a_model_and_the_classical_enlargement_have_the_same_colours(num_channels, tmp_path):
    class Bicubic(White):
        def __call__(self, low: torch.Tensor) -> torch.Tensor:
            return resize_bicubic(low, scale=2.0)

    clip = write_clip(tmp_path / "low.mp4", frames=1, colours=(1, 1, 1, 1))
    facts = read_facts(clip)
    enlarger = LiveEnlarger([Bicubic(num_channels)], facts=facts, target=target_of(32, 48, scale=2))
    with av.open(str(clip)) as file:
        low = enlarger.usual(next(file.decode(video=0)))
    plain = [np.frombuffer(plane, np.uint8).astype(float) for plane in enlarger.classical(low).planes]
    made = enlarger.by_model(0, low, enlarger.classical(low))
    for one, other in zip(plain, made.planes, strict=True):
        assert abs((np.frombuffer(other, np.uint8) - one).mean()) < 0.25


def test_a_network_for_clips_keeps_its_state_between_live_frames(clip):
    from sr_lab.inference.clips import network_restorer
    from sr_lab.networks.edsr import EDSR
    from sr_lab.networks.temporal.recurrent import RecurrentEDSR

    torch.manual_seed(0)
    network = RecurrentEDSR(image=EDSR(scale=2, num_blocks=1, num_features=8)).eval()
    torch.nn.init.normal_(network.recurrent.weight, std=0.2)
    enlarger = LiveEnlarger([network_restorer(network)], facts=read_facts(clip), target=target_of(32, 48, scale=2))
    (model,) = enlarger.models
    with av.open(str(clip)) as file:
        pictures = [enlarger.usual(frame) for frame in file.decode(video=0)]

    def made(picture):
        return enlarger.by_model(0, picture, enlarger.classical(picture)).to_ndarray()

    first, second = made(pictures[0]), made(pictures[3])
    enlarger.begin()
    assert model.state is None
    assert np.array_equal(made(pictures[0]), first)
    enlarger.begin()
    assert not np.array_equal(made(pictures[3]), second)


def test_full_range_becomes_limited_range_and_is_told(tmp_path):
    clip = write_clip(
        tmp_path / "low.mp4",
        frames=2,
        colours=(1, 1, 1, 2),
        pictures=lambda number, w, h: np.full((h, w, 3), 255, "u1"),
    )
    result = restored(clip, tmp_path / "large.mkv", latency=AT_ONCE)
    assert any("full range" in each for each in result.cautions)
    assert contents(tmp_path / "large.mkv")["range"] == 1
    with av.open(str(tmp_path / "large.mkv")) as file:
        luma = np.frombuffer(next(file.decode(video=0)).planes[0], np.uint8)
    assert abs(int(np.median(luma.reshape(64, -1)[:, :96])) - round(16 + 235 * 219 / 255)) <= 1


def test_sound_is_passed_on_as_it_is(tmp_path):
    clip = write_clip(tmp_path / "low.mkv", frames=10, audio=("eng",), time_base=Fraction(1, 1000))
    restored(clip, tmp_path / "large.mkv")
    low, large = contents(clip), contents(tmp_path / "large.mkv")
    assert large["sound"] == low["sound"]
    assert abs(large["offset"][0] - low["offset"][0]) <= Fraction(1, 1000)
    result = restored(clip, tmp_path / "mute.mkv", settings={"drop": True})
    assert contents(tmp_path / "mute.mkv")["sound"] == []
    assert any("sound is left out" in each for each in result.cautions)


def test_sound_that_the_container_cannot_hold_is_told(tmp_path):
    clip = write_clip(
        tmp_path / "low.mov", frames=4, audio=("eng",), audio_codec="pcm_s16be", time_base=Fraction(1, 1000)
    )
    with pytest.raises(VideoError, match=r"cannot hold .*video\.drop=true"):
        restored(clip, tmp_path / "large.flv")


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4", "flv"])
def test_containers_that_are_written(suffix, clip, tmp_path):
    restored(clip, tmp_path / f"large.{suffix}")
    assert len(frames_of(tmp_path / f"large.{suffix}")) == 6


def test_h265_and_a_wanted_codec_that_delays(clip, tmp_path):
    restored(clip, tmp_path / "large.mkv", settings={"codec": "h265"})
    assert contents(tmp_path / "large.mkv")["codec"] == "hevc"
    with pytest.raises(ValueError, match=r"video\.codec=av1"):
        restored(clip, tmp_path / "other.mkv", settings={"codec": "av1"})


# pipes


def test_a_pipe_that_ends(clip, tmp_path):
    with fed(clip.read_bytes()) as pipe:
        result = restored(pipe, tmp_path / "large.ts")
    assert (result.counts.frames_out, result.problems) == (6, ())


def test_standard_input_and_output(clip, tmp_path, capfdbinary):
    before = os.dup(0)
    with clip.open("rb") as given, (tmp_path / "large.ts").open("wb") as large:
        os.dup2(given.fileno(), 0)
        try:
            assert restored("-", "-").counts.frames_out == 6
        finally:
            os.dup2(before, 0)
            os.close(before)
        large.write(capfdbinary.readouterr().out)
    assert len(frames_of(tmp_path / "large.ts")) == 6


def test_a_pipe_that_stalls_breaks_off_and_what_came_is_written(tmp_path):
    clip = write_clip(tmp_path / "low.ts", frames=60, rate=200, codec_options={"bf": "0"})
    hold = threading.Event()
    with fed(clip.read_bytes(), lambda: hold.wait(30)) as pipe:
        result = restored(pipe, tmp_path / "large.ts", stall=0.3)
        hold.set()
    assert any("broke off: nothing came for 0.3 s" in each for each in result.problems)
    assert result.counts.frames_in == result.counts.frames_out == len(frames_of(tmp_path / "large.ts")) >= 58


def test_a_pause_shorter_than_a_stall_is_none(clip, tmp_path):
    data = clip.read_bytes()
    with fed(data[: 188 * 8], lambda: time.sleep(0.2), data[188 * 8 :]) as pipe:
        result = restored(pipe, tmp_path / "large.ts")
    assert (result.counts.frames_out, result.problems) == (6, ())


def test_a_clock_that_jumps_back_and_ahead_goes_on(tmp_path):
    late = write_clip(tmp_path / "late.ts", frames=4, start=90000 * 3600, codec_options={"bf": "0"})
    early = write_clip(tmp_path / "early.ts", frames=4, codec_options={"bf": "0"})
    with fed(late.read_bytes() + early.read_bytes() + late.read_bytes()) as pipe:
        result = restored(pipe, tmp_path / "large.ts")
    assert result.counts.frames_out == 12
    assert result.counts.clock_jumps == 2
    times = contents(tmp_path / "large.ts")["times"]
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert all(0 < step < Fraction(1, 10) for step in steps), steps


def test_a_picture_that_changes_its_size_is_fitted_into_the_first_one(tmp_path):
    first = write_clip(tmp_path / "first.ts", frames=3, codec_options={"bf": "0"})
    wider = write_clip(tmp_path / "wider.ts", frames=3, size=(96, 32), codec_options={"bf": "0"})
    with fed(first.read_bytes() + wider.read_bytes()) as pipe:
        result = restored(pipe, tmp_path / "large.ts", latency=AT_ONCE)
    assert (result.counts.frames_out, result.counts.resized) == (6, 3)
    assert any("3 frames of another size" in each for each in result.cautions)
    last = frames_of(tmp_path / "large.ts")[-1]
    assert last.shape == (64, 96, 3)
    assert last[:8].mean() < 20 < 60 < last[24:40].mean()  # black above, the picture in the middle


def test_damaged_packets_are_counted_and_the_rest_comes_out(tmp_path):
    clip = write_clip(tmp_path / "low.ts", frames=60, codec_options={"bf": "0", "g": "10"}, rate=100)
    data = bytearray(clip.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(range(250)) * 12
    with fed(bytes(data)) as pipe:
        result = restored(pipe, tmp_path / "large.ts")
    assert 0 < result.counts.frames_out == result.counts.frames_in


@pytest.mark.parametrize(
    ("kind", "said"),
    [("interlaced", "interlaced"), ("PQ", "high dynamic range"), ("text", "cannot be opened"),
     ("empty", "ended|opened"), ("missing", "no such file"), ("sound alone", "no video"), ("odd", "odd sides")],
)  # fmt: skip
def test_a_source_that_is_no_use_is_refused(kind, said, tmp_path):
    file, settings = tmp_path / "low.mkv", {}
    if kind == "interlaced":
        write_clip(file, codec="libx264", codec_options={"x264-params": "tff=1"})
    elif kind == "PQ":
        write_clip(file, pix_fmt="yuv420p10le", colours=(9, 9, 16, 1))
    elif kind == "text":
        file.write_text("no video at all\n" * 100)
    elif kind == "empty":
        file.touch()
    elif kind == "sound alone":
        with av.open(str(file), "w") as made:
            stream = made.add_stream("flac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
            frame.sample_rate = 48000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                made.mux(packet)
    elif kind == "odd":
        write_clip(file, size=(49, 33), pix_fmt="yuv444p")
        settings = {"models": [type("Thrice", (White,), {"scale": 3})()]}
    with pytest.raises((VideoError, ValueError), match=said):
        restored(file, tmp_path / "large.mkv", **settings)


# the output


def test_an_output_that_nobody_reads_any_more_ends_it(tmp_path):
    clip = write_clip(tmp_path / "low.ts", frames=100, size=(320, 240), rate=200, codec_options={"bf": "0"})
    pipe = tmp_path / "out"
    os.mkfifo(pipe)

    def read_a_little() -> None:
        with pipe.open("rb") as end:
            end.read(1000)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    noise = np.random.default_rng(0)

    class Noise(White):
        def __call__(self, low: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(noise.random((1, 1, 480, 640), np.float32))

    with pytest.raises(VideoError, match=r"writing failed \(Broken pipe\): nobody reads it any more"):
        restored(clip, pipe, models=[Noise()])
    reader.join(10)


def test_an_output_that_is_there_is_not_written_over(clip, tmp_path):
    (tmp_path / "large.ts").write_bytes(b"precious")
    with pytest.raises(ValueError, match="is there already"):
        restored(clip, tmp_path / "large.ts")
    assert (tmp_path / "large.ts").read_bytes() == b"precious"


def test_an_output_that_cannot_be_opened(clip, tmp_path):
    with pytest.raises(VideoError, match="cannot be opened for writing"):
        restored(clip, tmp_path / "no folder" / "large.ts")


def test_which_container_an_output_gets():
    wanted = {"-": "mpegts", "tcp://127.0.0.1:1": "mpegts", "udp://127.0.0.1:1?pkt_size=1316": "mpegts",
              "rtmp://host/live/key": "flv", "rtsp://host/x": "rtsp", "a.mkv": "matroska", "a.mp4": "mp4",
              "a/pipe": "mpegts", "x.m3u8": "hls"}  # fmt: skip
    assert {name: format_of(name) for name in wanted} == wanted
    with pytest.raises(VideoError, match=r"streaming\.format"):
        format_of("a.xyz")


# sockets


@contextlib.contextmanager
def served(*answers: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on the loopback that treats its first connection by the first answer, and so on; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def broken(data: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        time.sleep(0.2)  # let the reader take what came before the reset throws it away
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def test_tcp_in_that_ends(clip, tmp_path):
    with served(lambda connection: connection.sendall(clip.read_bytes())) as port:
        result = restored(f"tcp://127.0.0.1:{port}", tmp_path / "large.ts")
    assert (result.counts.frames_out, result.problems) == (6, ())


def test_viewers_can_join_in_the_middle(tmp_path):
    clip = write_clip(tmp_path / "low.ts", frames=12, rate=5, codec_options={"bf": "0"})
    with served(lambda connection: connection.sendall(clip.read_bytes())) as port:
        restored(f"tcp://127.0.0.1:{port}", tmp_path / "large.ts")
    assert (tmp_path / "large.ts").read_bytes().count(b"\x00\x00\x01\x67") == 2  # sequence headers, 2 s apart


def test_tcp_in_that_breaks_off_is_told_and_what_came_is_written(clip, tmp_path):
    with served(broken(clip.read_bytes())) as port:
        result = restored(f"tcp://127.0.0.1:{port}", tmp_path / "large.ts", stall=5.0)
    assert any("broke off" in each for each in result.problems)
    assert result.counts.frames_in == result.counts.frames_out >= 5


def test_tcp_in_that_breaks_off_is_opened_again(clip, tmp_path):
    data = clip.read_bytes()
    with served(broken(data), lambda connection: connection.sendall(data)) as port:
        result = restored(f"tcp://127.0.0.1:{port}", tmp_path / "large.ts", reconnect=20.0)
    assert (result.counts.reconnects, result.problems) == (1, ())
    assert result.counts.frames_out >= 11
    times = contents(tmp_path / "large.ts")["times"]
    assert times == sorted(set(times))


def test_tcp_out(clip):
    got = bytearray()

    def take(connection: socket.socket) -> None:
        while part := connection.recv(1 << 16):
            got.extend(part)

    with served(take) as port:
        restored(clip, f"tcp://127.0.0.1:{port}")
    import io

    with av.open(io.BytesIO(bytes(got))) as file:
        assert sum(1 for _ in file.decode(video=0)) == 6


def test_udp_from_pyav_that_stops_without_a_word(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ended = threading.Event()

    def send() -> None:
        with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as made:
            stream = made.add_stream("libx264", rate=50, options={"tune": "zerolatency", "g": "5"})
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            number = 0
            while not ended.wait(0.02):
                frame = av.VideoFrame.from_ndarray(picture(number, 48, 32), format="rgb24")
                for packet in stream.encode(frame):
                    made.mux(packet)
                number += 1
                if number > 60:
                    return

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    result = restored(f"udp://127.0.0.1:{port}", tmp_path / "large.ts", stall=1.0)
    ended.set()
    sender.join(10)
    assert any("broke off" in each for each in result.problems)
    assert 0 < result.counts.frames_out == result.counts.frames_in - result.counts.dropped


# the queue, counters, signals, the command


def test_a_full_queue_drops_the_oldest_only_where_the_sender_does_not_wait():
    counters = Counters()
    frames = FrameQueue(2, counters)
    for number in range(5):
        frames.put(LiveFrame(number, Fraction(number), 0.0), wait=False, stopped=lambda: False)
    assert [frames.get(0).picture for _ in range(2)] == [3, 4]
    assert counters.counts.dropped == 3
    frames = FrameQueue(2, counters)

    def put() -> None:
        for number in range(5):
            frames.put(LiveFrame(number, Fraction(number), 0.0), wait=True, stopped=lambda: False)
        frames.end()

    thread = threading.Thread(target=put)
    thread.start()
    got = []
    while not frames.over:
        if (frame := frames.get(1.0)) is not None:
            got.append(frame.picture)
    thread.join()
    assert (got, counters.counts.dropped) == ([0, 1, 2, 3, 4], 3)


def test_the_counters_are_prometheus_text_in_a_file_and_at_an_address(clip, tmp_path):
    parser = pytest.importorskip("prometheus_client.parser")
    restored(clip, tmp_path / "large.ts", metrics=str(tmp_path / "live.prom"))
    families = {each.name: each for each in parser.text_string_to_metric_families((tmp_path / "live.prom").read_text())}
    assert families["srlab_live_frames_in"].samples[0].value == 6
    assert families["srlab_live_frames_out"].type == "counter"
    latency = families["srlab_live_latency_seconds"]
    assert {each.labels.get("quantile") for each in latency.samples} == {"0.5", "0.95", "0.99", None}
    counters = Counters()
    counters.add(late=2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with telling(counters, f"127.0.0.1:{port}"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"srlab_live_late_frames_total 2\n" in answer.read()
        with pytest.raises(ValueError, match="cannot listen"), telling(counters, f"127.0.0.1:{port}"):
            pass


def test_latencies_are_told_by_quantile():
    counters = Counters()
    for number in range(1, 101):
        counters.out(number / 1000)
    assert counters.quantiles() == pytest.approx({0.5: 0.0505, 0.95: 0.09505, 0.99: 0.09901})


def test_sigterm_writes_what_had_come_in(tmp_path):
    clip = write_clip(tmp_path / "low.ts", frames=60, rate=200, codec_options={"bf": "0"})
    hold = threading.Event()

    def ask(number: int) -> None:
        if number == 3:  # two calls warm up
            os.kill(os.getpid(), signal.SIGTERM)

    with fed(clip.read_bytes(), lambda: hold.wait(30)) as pipe, handled():
        with pytest.raises(Stopped, match=r"stopped by SIGTERM: \d+ frames in, \d+ out") as stop:
            restored(pipe, tmp_path / "large.ts", models=[White(then=ask)])
        hold.set()
    assert stop.value.exit_code == 143
    with av.open(str(tmp_path / "large.ts")) as file:
        assert sum(1 for _ in file.decode(video=0)) >= 2


def test_sigterm_before_the_first_picture(tmp_path):
    hold = threading.Event()

    def ask() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        hold.wait(30)

    with fed(ask) as pipe, handled():
        with pytest.raises(Stopped):
            restored(pipe, tmp_path / "large.ts")
        hold.set()


def test_the_command(clip, tmp_path, capsys):
    large = tmp_path / "large.ts"
    given = [f"input={clip}", f"output={large}", "live=true", "scale=2"]
    assert main(["restore", *given, "restorer=bicubic"]) == 0
    assert "6 frames in, 6 out (0 late, 0 degraded, 0 dropped)" in capsys.readouterr().out
    large.unlink()
    assert main(["restore", *given, "restorer=edge", "streaming.smaller=[bicubic]", "streaming.latency=600"]) == 0
    assert "0 late" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("dry_run=true", "dry_run"), ("format=png", "live video"), ("smoothing=true", "smoothing"),
     ("streaming.latency=0", "latency"), ("streaming.queue=0", "queue"), ("streaming.metrics=nowhere:99999", "listen")],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong, said, clip, tmp_path, capsys):
    given = [f"input={clip}", f"output={tmp_path / 'large.ts'}", "live=true", "restorer=bicubic", "scale=2", wrong]
    assert main(["restore", *given]) != 0
    assert said in capsys.readouterr().err
