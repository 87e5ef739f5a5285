"""--learner transfer: from the ONNX file to what the board learned from its cache by itself."""

from __future__ import annotations

import numpy as np
import pytest

import tinyodl
from tests.builds import build
from tests.models import WATCH
from tinyodl.device.client import Client
from tinyodl.device.codes import Command, Draw, Status
from tinyodl.device.connect import connect
from tinyodl.device.refusals import RefusedError
from tinyodl.errors import DataError, DoesNotFitError, UserError
from tinyodl.learning.beside.cache import feature as feature_cache
from tinyodl.learning.learners.choice import as_learner
from tinyodl.report import tables
from tinyodl.report.page import report_html
from tinyodl.resources import EXAMPLES
from tinyodl.runs import log as runlog
from tinyodl.runs.record import Radio
from tinyodl.session.energy import meter
from tinyodl.session.radio import comparison, radio_of, sample_bytes, with_radio
from tinyodl.session.session import Session
from tinyodl.targets.boards import load_board

HEAD = {"learner": "transfer", "classes": 7}
FLASH = {"cache_memory": "flash"}


def person(number, part="learn"):
    with np.load(EXAMPLES / "watch" / f"person{number}_{part}.npz") as data:
        return data["x"].astype(np.float32), data["y"].astype(int)


def compiled(folder, **options):
    """A host build; the options by default those of --learner transfer with a fresh head."""
    tinyodl.compile(WATCH, "host", folder, **(options or HEAD))
    build(folder, load_board("host"))
    return folder


def int8_watch(folder):
    """Options that quantise the frozen layers."""
    np.savez(folder / "samples.npz", x=person(8)[0][:60])
    return {"precision": "int8", "calibrate": folder / "samples.npz"}


@pytest.mark.parametrize(("number", "least"), {8: 0.89, 9: 0.87, 10: 0.82}.items())
def test_a_person_in_recorded_order_with_four_features_of_each_class(tmp_path, number, least):
    """The last layer of the model goes on learning, and does not forget."""
    folder = compiled(tmp_path / "p", learner="transfer", cache=28)
    with Session(folder, "host") as session:
        done = session.train(*person(number), eval=person(number, "test"), run=tmp_path / "run")
        labels = session.client.read_parameter(parameter(session, feature_cache.CACHED_LABELS))
    assert done.accuracy_after >= least
    np.testing.assert_array_equal(np.bincount(labels), 7 * [4])


def parameter(session, name):
    return [record.name for record in session.manifest.parameters].index(name)


class TestEpochs:
    def test_the_first_is_streamed_and_the_others_are_the_board_s_own(self, tmp_path):
        folder = compiled(tmp_path / "p", **HEAD, cache=20, batch=8)
        x, y = person(8)
        with Session(folder, "host") as session:
            done = session.train(x, y, epochs=4, limit=30, shuffle=0, run=tmp_path / "run")
            counts = session.client.statistics()
            exported = session.infer(x[:3])
            session.export(tmp_path / "learned.onnx")
        run = runlog.read(tmp_path / "run")
        assert len(run.steps) == counts.trained == done.samples == 30
        assert [replay.epoch for replay in run.record.replays] == [1, 2, 3]
        assert [replay.samples for replay in run.record.replays] == [20, 20, 20]
        assert run.record.replays[2].loss < run.record.replays[0].loss
        assert (done.replay.epochs, done.replay.samples) == (3, 60)
        np.testing.assert_allclose(outputs(tmp_path / "learned.onnx", x[:3]), exported, atol=1e-4)

    def test_fewer_samples_than_the_cache_holds(self, tmp_path):
        folder = compiled(tmp_path / "p", **HEAD, cache=50)
        with Session(folder, "host") as session:
            session.train(*person(8), epochs=2, limit=9, draw="balanced", run=tmp_path / "run")
        assert runlog.read(tmp_path / "run").record.replays[0].held == 9

    def test_a_learning_rate_that_is_too_high_leaves_good_weights(self, tmp_path):
        folder = compiled(tmp_path / "p", **HEAD, cache=20, replay=0)
        with Session(folder, "host") as session:
            with pytest.raises(UserError, match=r"the loss in epoch .* is not a finite number"):
                session.train(
                    *person(8), epochs=90, limit=40, learning_rate=1e30, run=tmp_path / "run"
                )
            assert np.isfinite(session.infer(person(8)[0][:1])).all()

    def test_draw_needs_a_cache(self, tmp_path):
        folder = compiled(tmp_path / "p", update="last")
        with Session(folder, "host") as session:
            with pytest.raises(UserError, match="compile it with --cache N"):
                session.train(*person(8), draw="uniform", run=tmp_path / "run")
            with pytest.raises(UserError, match="draw is 'any'"):
                session.train(*person(8), draw="any", run=tmp_path / "run")


def outputs(path, x):
    import onnxruntime

    runtime = onnxruntime.InferenceSession(path.read_bytes())
    name = runtime.get_inputs()[0].name
    return np.concatenate([runtime.run(None, {name: sample[None]})[0] for sample in x])


class TestReplay:
    @pytest.fixture(scope="class")
    @staticmethod
    def project(tmp_path_factory):
        return compiled(tmp_path_factory.mktemp("replay") / "p", **HEAD, cache=20, batch=8)

    def refused(self, client, *request):
        with pytest.raises(RefusedError) as error:
            client.replay(*request)
        return error.value.status, error.value.detail

    def test_requests_that_cannot_be(self, project, tmp_path):
        with Session(project, "host") as session:
            session.reset()
            client = session.client
            assert self.refused(client, 0, Draw.EPOCHS) == (Status.RANGE, 256)
            assert self.refused(client, 257, Draw.EPOCHS) == (Status.RANGE, 256)
            assert self.refused(client, 1, 3) == (Status.RANGE, 3)
            assert self.refused(client, 1, Draw.EPOCHS) == (Status.EMPTY, 0)
            with pytest.raises(RefusedError, match="cache holds no sample; train on some first"):
                client.replay(1, Draw.UNIFORM)

    def test_a_network_without_a_cache_knows_no_replay(self, tmp_path):
        with Session(compiled(tmp_path / "p", update="last"), "host") as session:
            assert self.refused(session.client, 1, Draw.EPOCHS) == (Status.UNKNOWN, 0)

    def test_an_epoch_ends_a_request_and_uses_up_the_sample(self, project):
        x, y = person(8)
        with Session(project, "host") as session:
            session.reset()
            for index in range(10):
                session.client.train(x[index], int(y[index]))
            session.client.upload(x[0])
            reply = session.client.replay(256, Draw.EPOCHS)
            assert (reply.samples, reply.held) == (10, 10)
            assert session.client.replay(3, Draw.BALANCED).samples == 24
            with pytest.raises(RefusedError, match="upload the sample"):
                session.client._request(Command.INFER)

    def test_the_cache_is_saved_with_the_weights(self, project):
        x, y = person(8)
        with Session(project, "host") as session:
            session.reset()
            for index in range(5):
                session.client.train(x[index], int(y[index]))
            session.save()
            session.reset()
            session.client.restore()
            assert session.client.replay(1, Draw.UNIFORM).held == 5

    def test_how_many_a_step_learns_from_is_a_setting(self, project):
        """0: samples are kept, to be learned from later; at most 256."""
        x, y = person(8)
        with Session(project, "host") as session:
            session.reset()
            client = session.client
            compiled = client.read_parameter(0)
            assert client.setting("replay") == 8
            client.setting("replay", 0)
            for index in range(6):
                client.train(x[index], int(y[index]))
            np.testing.assert_array_equal(client.read_parameter(0), compiled)
            assert client.replay(1, Draw.EPOCHS).held == 6
            for samples, others in ((1, False), (3, True)):
                client.setting("replay", samples)
                books = parameter(session, feature_cache.BOOKS)
                before = client.read_parameter(books)[feature_cache.RANDOM]
                client.train(x[0], int(y[0]))
                drawn = client.read_parameter(books)[feature_cache.RANDOM] != before
                assert drawn == others
            assert not np.array_equal(client.read_parameter(0), compiled)
            with pytest.raises(DataError, match="give a number from 0 to 256"):
                client.setting("replay", 257)

    def test_whatever_a_host_writes_into_the_cache_stays_within_it(self, project):
        x, y = person(8)
        random = np.random.default_rng(0)
        with Session(project, "host") as session:
            for _ in range(20):
                for record in session.manifest.parameters:
                    if record.name in feature_cache.TENSORS:
                        raw = random.bytes(record.bytes)
                        junk = np.frombuffer(raw, record.dtype).reshape(record.shape)
                        if record.dtype == "float32":
                            junk = np.nan_to_num(junk)
                        session.client.write_parameter(record.index, junk)
                session.client.train(x[0], int(y[0]))
                for draw in Draw:
                    session.client.replay(2, draw)
            session.reset()


def test_int8_features_are_kept_as_they_are(tmp_path):
    """The integers behind a DequantizeLinear, and no scales beside them."""
    manifest = tinyodl.plan(WATCH, "host", **HEAD, cache=30, **int8_watch(tmp_path))
    kept = {p.name: p for p in manifest.parameters if p.name.startswith("<cache")}
    assert kept[feature_cache.FEATURES].shape == (30, 32)
    assert feature_cache.SCALES not in kept
    assert manifest.ram.parts["cache"] == sum(record.bytes for record in kept.values())
    assert manifest.ram.total == sum(manifest.ram.parts.values())


def test_a_cache_that_does_not_fit_names_itself_and_what_would(tmp_path):
    board = {"board": "nrf52840_dk", "out": tmp_path / "p"}
    with pytest.raises(DoesNotFitError) as error:
        tinyodl.compile(WATCH, **board, **HEAD, cache=30_000)
    text = str(error.value)
    assert "<cache.features>" in text and "the cache of 30,000 samples of 32 features" in text
    fitting = int(text.split("give --cache ")[1].split(",")[0])
    made = tinyodl.compile(WATCH, **board, **HEAD, cache=fitting)
    assert made.plan.beside["cache"].samples == fitting
    with pytest.raises(DoesNotFitError):
        tinyodl.compile(WATCH, **board, **HEAD, cache=fitting + 1)


@pytest.mark.parametrize(
    ("precision", "memory", "chip"),
    [
        ("float32", "ram", "nrf52840_dk"),
        ("int8", "ram", "nrf52840_dk"),
        ("float32", "flash", "nrf52840_dk"),
        ("int8", "flash", "nucleo_f446re"),
    ],
)
def test_the_virtual_board_learns_the_bits_of_the_host(tmp_path, precision, memory, chip):
    options = {**HEAD, "head": "dense:12,7", "cache": 12, "tap": ["/9/GlobalAveragePool"]}
    options |= {"cache_memory": memory}
    del options["classes"]
    if precision == "int8":
        options |= int8_watch(tmp_path)
    x, y = person(8)
    ended = []
    for board, port in (("host", "host"), (chip, "virtual")):
        project = tmp_path / board
        manifest = tinyodl.compile(WATCH, board, project, **options)
        build(project, load_board(board))
        transport = connect(project, port)
        try:
            client = Client(transport, manifest)
            losses = [client.train(x[i], int(y[i])).loss for i in range(0, 200, 8)]
            losses += [client.replay(2, draw).loss for draw in Draw]
            weights = [client.read_parameter(p.index).tobytes() for p in manifest.parameters]
        finally:
            transport.close()
        ended.append((losses, weights))
    assert ended[0] == ended[1]


def test_outputs_to_spare_for_labels_as_they_come(tmp_path):
    """The model's own outputs go on, new labels take the free ones, and -1 is not kept."""
    x, y = person(8)
    options = {"learner": "transfer", "max_classes": 9, "grow": True, "cache": 27}
    with Session(compiled(tmp_path / "p", **options), "host") as session:
        assert session.evaluate(*person(8, "test")).accuracy == pytest.approx(0.838, abs=0.001)
        for index in np.random.default_rng(0).permutation(len(x)):
            label = int(y[index])
            session.client.train(x[index], 42 if label == 6 else label)
        assert np.isnan(session.client.train(x[0], -1).loss)
        with pytest.raises(DataError, match="all 9 outputs"):
            for label in (50, 51):
                session.client.train(x[0], label)
        kept = session.client.read_parameter(parameter(session, feature_cache.CACHED_LABELS))
        xt, yt = person(8, "test")
        after = session.evaluate(xt, np.where(yt == 6, 42, yt))
    assert after.accuracy > 0.85
    held = np.bincount(kept, minlength=9)
    assert (held[6], held[8], held.sum()) == (0, 1, 27) and held[[0, 1, 2, 3, 4, 5, 7]].min() >= 3


class TestFlash:
    @pytest.fixture(scope="class")
    @staticmethod
    def project(tmp_path_factory):
        return compiled(tmp_path_factory.mktemp("flash") / "p", **HEAD, cache=20, **FLASH)

    def train(self, session, count):
        x, y = person(8)
        for index in range(count):
            session.client.train(x[index], int(y[index]))

    def held(self, session):
        return session.client.replay(1, Draw.UNIFORM).held

    def test_samples_stay_without_a_save_and_weights_do_not(self, project):
        with Session(project, "host") as session:
            session.reset()
            compiled = session.client.read_parameter(0)
            self.train(session, 2)
        with Session(project, "host") as session:
            np.testing.assert_array_equal(session.client.read_parameter(0), compiled)
            assert self.held(session) == 2
            session.reset()
            with pytest.raises(RefusedError, match="cache holds no sample"):
                self.held(session)

    def test_weights_that_are_no_numbers_cost_no_samples(self, project, tmp_path):
        x, y = person(8)
        with Session(project, "host") as session:
            session.reset()
            compiled = session.client.read_parameter(0)
            rate = {"learning_rate": 1e30, "limit": 40}
            with pytest.raises(UserError, match="back at the weights of the ONNX file"):
                session.train(x, y, **rate, run=tmp_path / "run")
            np.testing.assert_array_equal(session.client.read_parameter(0), compiled)
            assert self.held(session) >= 1

    def test_a_restore_brings_weights_back_and_keeps_the_samples(self, project):
        with Session(project, "host") as session:
            session.reset()
            self.train(session, 2)
            session.save()
            saved = session.client.read_parameter(0)
            self.train(session, 1)
            session.client.restore()
            np.testing.assert_array_equal(session.client.read_parameter(0), saved)
            assert self.held(session) == 2  # the two samples of the class, and its share is two

    def test_the_plan_names_the_bytes_and_what_would_fit(self, tmp_path):
        board = {"board": "nrf52840_dk", "out": tmp_path / "p"}
        manifest = tinyodl.compile(WATCH, **board, **HEAD, cache=4000, **FLASH)
        assert manifest.beside["cache"]["flash"] == 16 + 4000 * (4 + 4 + 32)
        assert manifest.flash.parts["cache"] == -(-manifest.beside["cache"]["flash"] // 4096) * 4096
        assert manifest.ram.parts["cache"] == 4000 * 4 + 4 * (4 + 2 * 7 + 1)
        map_file = (tmp_path / "p" / "lib/port/config.h").read_text()
        assert f"{0xC0000 - manifest.flash.parts['cache']:#010x}".upper()[2:] in map_file
        with pytest.raises(DoesNotFitError) as error:
            tinyodl.compile(WATCH, **board, **HEAD, cache=30_000, **FLASH)
        fitting = int(str(error.value).split("give --cache ")[1].split(",")[0])
        tinyodl.compile(WATCH, **board, **HEAD, cache=fitting, **FLASH)

    def test_a_virtual_board_goes_on_with_a_cache_of_another_size(self, tmp_path):
        """The file that is the flash has another length then."""
        for cache in (20, 4000):
            project = tmp_path / "p"
            tinyodl.compile(WATCH, "nrf52840_dk", project, **HEAD, cache=cache, **FLASH)
            build(project, load_board("nrf52840_dk"))
            with Session(project, "virtual") as session:
                self.train(session, 1)
                session.save()
                assert self.held(session) == 1


class TestRadio:
    @pytest.fixture(scope="class")
    @staticmethod
    def run(tmp_path_factory):
        """A run whose time is taken to be that of the chip."""
        folder = tmp_path_factory.mktemp("radio")
        project = compiled(folder / "p")
        board = load_board("nrf52840_dk")
        with Session(project, "host") as session:
            session.meter = meter(board, "virtual", 1, session.hello.clock_hz)
            radio = radio_of(board, None, None)
            session.train(*person(8), epochs=3, limit=20, radio=radio, run=folder / "run")
        return runlog.read(folder / "run")

    def test_all_of_a_run_beside_its_samples_and_weights_on_air(self, run):
        found = comparison(run)
        assert found.sent_bytes == 20 * sample_bytes(run.manifest) == 20 * 6 * 100 * 4
        assert found.returned_bytes == (32 + 1) * 7 * 4
        bits = 8 * (found.sent_bytes + found.returned_bytes)
        assert found.radio_ms == pytest.approx(1e3 * bits / 780_800)
        assert found.radio_mj == pytest.approx(3.0 * 6.4 * bits / 780_800)
        steps = sum(step.mj for step in run.steps)
        assert found.compute_mj == pytest.approx(steps + sum(r.mj for r in run.record.replays))

    def test_the_report_shows_both_and_the_epochs(self, run, capsys):
        from rich.console import Console

        tables.print_runs(Console(width=120), [run])
        text = capsys.readouterr().out
        assert "from the cache" in text and "sent away" in text and "IRADIO_TX1" in text
        page = report_html([run])
        assert "On the board, or sent away" in page and "From the cache" in page

    def test_a_radio_of_the_user_s(self, run):
        with_it = with_radio(
            run.__class__(
                run.folder, run.record.model_copy(update={"board": "nrf52840_dk"}),
                run.manifest, run.steps,
            ),
            9000, 10_000,
        )  # fmt: skip
        assert with_it.record.radio == Radio(supply_v=3.0, ma=9.0, bps=10_000, source="as given")

    @pytest.mark.parametrize(("ua", "bps"), [(9000, None), (None, 1e5), (0, 1e5), (9000, -1)])
    def test_half_a_radio(self, ua, bps):
        with pytest.raises(UserError, match="give both, above 0"):
            radio_of(load_board("nrf52840_dk"), ua, bps)

    def test_a_board_of_unknown_supply(self):
        with pytest.raises(UserError, match="no supply voltage"):
            radio_of(load_board("host"), 9000, 1e5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": "transfer", "update": "full"}, "leave --update away"),
        ({"learner": "transfer", "head": "dense:3", "classes": 3}, "leave --classes away"),
        ({"learner": "transfer", "head": "dense:3", "max_classes": 3}, "leave --max-classes away"),
        ({"learner": "transfer", "grow": True}, "give --max-classes N too"),
        ({"learner": "transfer", "classes": 0}, "--classes 0: give at least 1"),
        ({"learner": "transfer", "cache": 0}, "keeps at least 1 sample"),
        ({"learner": "transfer", "ridge": 0.1}, "--ridge is for recursive least squares"),
        ({"learner": "transfer", "hidden": 3}, "--hidden is for --learner elm"),
    ],
)
def test_options_that_clash(options, message):
    with pytest.raises(UserError, match=message):
        as_learner(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": "transfer", "loss": "mse"}, "not for loss mse"),
        ({"learner": "rls", "cache": 5}, "not for optimizer rls"),
        ({"replay": 4}, "replay needs a cache"),
        ({"cache_memory": "flash"}, "give --cache N"),
        ({"guard_memory": "flash"}, "give --guard K"),
        ({"cache": 40_000}, "cache = 40000"),
        ({"cache": 5, "update": "none"}, "layers that learn, and none does"),
        ({"weight_decay": 0.1, "optimizer": "adam"}, "for optimizer sgd and momentum"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        tinyodl.plan(WATCH, "host", **options)


def test_weight_decay_is_not_for_integers(tmp_path):
    with pytest.raises(UserError, match="weight_decay is for float32 layers"):
        tinyodl.plan(WATCH, "host", update="last", weight_decay=0.1, **int8_watch(tmp_path))
