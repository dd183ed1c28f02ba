"""The entropy stage through its two public ends, and its count tables."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.entropy import GroupStream
from reference.refuse import RefusedError

from MedCompressLib.codecs.neural.logistic import SIGMOID, logistic_table
from MedCompressLib.codecs.neural.predictor import N_GROUPS
from MedCompressLib.compiled import SWITCH
from MedCompressLib.entropy import GroupDecoder, encode_groups
from MedCompressLib.entropy.bits import append_low_bits, pack_bits, pack_low_bits
from MedCompressLib.entropy.rans import Encoder, RowsDecoder, TableRows
from MedCompressLib.entropy.tables import COUNT_OF_CODE, MAX_CODE, CountTable, GivenTable, code_of_count, fit_table
from MedCompressLib.entropy.varint import write_signed, write_varint
from MedCompressLib.errors import FormatError

INT32 = st.integers(-(2**31), 2**31 - 1)


def round_trip(symbols, groups, n_groups, pieces=1):
    symbols, groups = np.asarray(symbols, np.int32), np.asarray(groups, np.uint16)
    data = encode_groups(symbols, groups, n_groups)
    decoder = GroupDecoder(data, n_groups, len(symbols))
    decoded = np.concatenate([decoder.decode(part) for part in np.array_split(groups, pieces)])
    decoder.finish()
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, symbols)
    return data


def laplace(seed, count, n_groups):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, count).astype(np.uint8)
    return np.rint(rng.laplace(0, 0.3 * 1.1**groups)).astype(np.int32), groups


@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000])
def test_encode_a_few(count):
    round_trip(np.arange(count) % 7 - 3, np.zeros(count), 1)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.integers(-4, 4), INT32), st.integers(0, 5)), max_size=200), st.integers(1, 7))
def test_any_symbols_in_any_groups(pairs, pieces):
    symbols, groups = [s for s, _ in pairs], [g for _, g in pairs]
    round_trip(symbols, groups, 6, pieces)


def test_extremes_far_apart_in_one_group():
    round_trip([-(2**31), 2**31 - 1, 0, 0, 0, 2**31 - 1], [0] * 6, 1)


def test_constant_groups_cost_no_bits():
    data = round_trip(np.repeat([5, -9], 100_000), np.repeat([0, 1], 100_000), 2)
    assert len(data) < 32


def test_size_is_close_to_the_entropy_of_the_groups():
    symbols, groups = laplace(0, 300_000, 20)
    ideal = 0.0
    for group in range(20):
        counts = np.unique(symbols[groups == group], return_counts=True)[1]
        ideal -= (counts * np.log2(counts / counts.sum())).sum() / 8
    assert len(round_trip(symbols, groups, 20, pieces=13)) < 1.01 * ideal


def test_same_input_same_bytes_for_ever():
    """A golden stream: these bytes are part of the format."""
    symbols = (np.arange(5000) * 7919 % 257 % 31 - 12).astype(np.int32)
    symbols[::700] = 1 << 20
    data = encode_groups(symbols, (np.arange(5000) % 3).astype(np.uint8), 4)
    assert hashlib.sha256(data).hexdigest() == "6721f59e9091760e81ffb4f812fbd4721336d60993b04db52c5094029db6f605"


@pytest.mark.parametrize("seed", range(12))
def test_compiled_loops_make_the_same_bytes_and_symbols(monkeypatch, seed):
    """With escapes, low bits outside the tables, constant groups, and states that end in every way."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    symbols, groups = laplace(seed, int(4**(seed + 1)) % 30_011, 110)
    groups = groups.astype(np.uint16 if seed % 2 else np.uint8)
    symbols[rng.random(len(symbols)) < 0.001] = -(2**31)
    symbols[groups == 7] = 3
    streams = []
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        streams.append(encode_groups(symbols, groups, 300))
    assert streams[0] == streams[1]
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        decoder = GroupDecoder(streams[0], 300, len(symbols))
        decoded = [decoder.decode(part) for part in np.array_split(groups, 5)]
        decoder.finish()
        assert np.array_equal(np.concatenate(decoded), symbols)


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_tables_by_both_coders(monkeypatch, seed):
    """What constriction writes the compiled loop reads, and the other way round."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 18, 40)
    counts = [rng.integers(1, 4**rng.integers(1, 13), size) for size in sizes]
    rows = TableRows(rng.integers(-9, 9, 40).tolist(), counts)
    calls = []
    for count in [0, 1, *rng.integers(1, 900, 8 if seed else 0)]:     # the first: streams of a word
        groups = rng.integers(0, 40, count).astype(np.uint16)
        symbols = (rows.lows[groups] + rng.integers(0, 1 << 20, count) % sizes[groups]).astype(np.int32)
        calls.append((groups, np.argsort(groups, kind="stable"), symbols))
    streams = []
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        encoder = Encoder()
        for groups, order, symbols in reversed(calls):
            encoder.put_rows(rows, groups, order, symbols)
        streams.append(encoder.words())
    assert np.array_equal(*streams)
    for switch in "01":
        monkeypatch.setenv(SWITCH, switch)
        decoder = RowsDecoder(streams)
        for groups, order, symbols in calls:
            decoded = decoder.take(rows, np.stack([groups, groups]), np.stack([order, order]))
            assert np.array_equal(decoded, np.stack([symbols, symbols]))
        assert decoder.is_empty()


@pytest.mark.parametrize("switch", ["0", "1"])
@pytest.mark.parametrize("width", [1, 7, 8, 13, 31])
def test_low_bits(monkeypatch, width, switch):
    if switch == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv(SWITCH, switch)
    values = np.random.default_rng(width).integers(-(2**31), 2**31, 1001).astype(np.int32)
    packed = pack_low_bits(values, width)
    assert int.from_bytes(packed, "little") == sum((int(value) & (1 << width) - 1) << width * n
                                                   for n, value in enumerate(values))
    upper = values >> width
    append_low_bits(upper, packed, width)
    assert np.array_equal(upper, values)


@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_decoder_hands_out_no_more_than_there_is(monkeypatch, switch):
    if switch == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv(SWITCH, switch)
    decoder = GroupDecoder(encode_groups(np.arange(4), np.zeros(4, np.uint8), 1), 1, 4)
    decoder.decode(np.zeros(2, np.uint8))
    with pytest.raises(FormatError, match="shorter than needed"):
        decoder.decode(np.zeros(3, np.uint8))
    assert decoder.decode(np.zeros(1, np.uint8)) == 2, "none was taken when there were too few"
    with pytest.raises(FormatError, match="more symbols than voxels"):
        decoder.finish()
    with pytest.raises(FormatError, match="shorter than needed"):
        decoder.decode(np.ones(1, np.uint8))


def test_a_stream_beyond_the_limit_is_refused():
    data = encode_groups(np.zeros(1000, np.int32), np.zeros(1000, np.uint8), 1)
    with pytest.raises(FormatError, match="declares 1000"):
        GroupDecoder(data, 1, 999)
    GroupDecoder(data, 1, 1000)
    data = encode_groups(np.zeros(10, np.int32), np.zeros(10, np.uint8), 1, given_tables)
    with pytest.raises(FormatError, match="declares"):
        GroupDecoder(data, 1, 9, given_tables)
    GroupDecoder(data, 1, 10, given_tables)


def test_wrong_use_is_said_plainly():
    with pytest.raises(ValueError, match="one group"):
        encode_groups(np.zeros(3, np.int32), np.zeros(2, np.uint8), 1)
    with pytest.raises(ValueError, match="below n_groups"):
        encode_groups(np.zeros(3, np.int32), np.full(3, 4, np.uint8), 4)
    with pytest.raises(ValueError, match="at most 65536"):
        encode_groups(np.zeros(3, np.int32), np.zeros(3, np.uint8), 65537)


def stream(tables, indices, lowest=None, entries=None, excess=(), tail=b""):
    """A group stream with such tables (shift, low, count codes), one for each row of indices; `excess` of the escaped
    symbols, and the low bits of all in `tail`. Its step table is made of the tables, or of a lowest step and entries
    (gap, count code)."""
    out = bytearray()
    for number in (len(tables), *map(len, indices)):
        write_varint(out, number)
    for shift, low, codes in tables:
        write_varint(out, shift)
        write_signed(out, low)
        write_varint(out, len(codes) - 1)
    steps = np.concatenate([np.diff(codes, prepend=0) for _, _, codes in tables]).astype(np.int32)
    if entries is None:
        lowest, used = int(steps.min()), np.unique(steps)
        entries = [(int(gap), 1) for gap in np.diff(used - lowest, prepend=0)]
    write_signed(out, lowest)
    write_varint(out, len(entries))
    step_codes = np.zeros(sum(gap for gap, _ in entries) + 2, np.int64)
    place = 0
    for gap, code in entries:
        write_varint(out, gap)
        out.append(code)
        place += gap
        step_codes[place] = code
    write_varint(out, len(excess))
    coder, bits = Encoder(), b""
    if len(excess):
        lengths = np.array([int(number).bit_length() for number in excess], np.int32)
        length_codes = np.minimum(np.bincount(lengths, minlength=35), 7)
        out += bytes(length_codes.tolist())
        coder.put(CountTable(0, length_codes), lengths)
        bits = pack_bits(np.array(excess), np.maximum(lengths - 1, 0))
    for (_, _, codes), row in reversed(list(zip(tables, indices, strict=True))):
        coder.put(CountTable(0, np.array(codes)), np.array(row, np.int32))
    coder.put(CountTable(lowest, step_codes), steps)
    words = coder.words()
    write_varint(out, len(words))
    return bytes(out) + words.astype("<u4").tobytes() + bits + tail


def symbols_of(data, sizes):
    """What either decoder makes of a stream; FormatError if both refuse it."""
    try:
        found = GroupDecoder(data, len(sizes), sum(sizes)).remaining()[1].tolist()
    except FormatError:
        with pytest.raises(RefusedError):
            GroupStream(data, len(sizes), sum(sizes))
        raise
    other = GroupStream(data, len(sizes), sum(sizes))
    assert found == [other.next(group) for group, size in enumerate(sizes) for _ in range(size)]
    return found


ONE = [1, 0]     # the count codes of a table of one value without an escape


@pytest.mark.parametrize("good, bad", [
    ({"tables": [(31, -1, ONE)], "tail": b"\0" * 4}, {"tables": [(32, -1, ONE)], "tail": b"\0" * 4}),
    ({"tables": [(0, -(2**31), ONE)]}, {"tables": [(0, -(2**31) - 1, ONE)]}),
    ({"tables": [(0, 2**31 - 1, ONE)]}, {"tables": [(0, 2**31, ONE)]}),
    ({"tables": [(0, 2**31 - 2, [1, 1, 0])]}, {"tables": [(0, 2**31 - 1, [1, 1, 0])]}),
    ({"tables": [(4, -(2**27), [1, 1])], "tail": b"\0"}, {"tables": [(4, -(2**27) - 1, [1, 1])], "tail": b"\0"}),
    ({"tables": [(4, 2**27 - 1, [1, 1])], "tail": b"\0"}, {"tables": [(4, 2**27, [1, 1])], "tail": b"\0"}),
    ({"tables": [(4, 0, [1, 1])], "indices": [[1]], "excess": [2**28 - 3], "tail": b"\0"},
     {"tables": [(4, 0, [1, 1])], "indices": [[1]], "excess": [2**28 - 1], "tail": b"\0"}),
    ({"tables": [(0, 0, [1, 1])], "indices": [[1]], "excess": [2**32 - 3]},
     {"tables": [(0, 0, [1, 1])], "indices": [[1]], "excess": [2**32 - 1]}),
    ({"tables": [(0, 0, [1, 1])], "indices": [[1]], "excess": [2**32]},
     {"tables": [(0, 0, [1, 1])], "indices": [[1]], "excess": [2**32 + 2]}),
    ({"tables": [(0, 0, [1, 1])], "indices": [[1]], "excess": [1]},
     {"tables": [(0, 0, [1, 1])], "indices": [[1]], "excess": [0]}),
    ({"tables": [(0, 5, [207, 0])], "lowest": -207, "entries": [(0, 1), (414, 1)]},
     {"tables": [(0, 5, [207, 0])], "lowest": -207, "entries": [(0, 1), (414, 1), (1, 1)]}),
    ({"tables": [(0, 5, [100, 200])], "lowest": 100, "entries": [(0, 1)]},
     {"tables": [(0, 5, [100, 200])], "lowest": 100, "entries": [(0, 1), (0, 1)]}),
    ({"tables": [(0, 5, [206, 0])], "lowest": -207, "entries": [(1, 1), (412, 1)]},
     {"tables": [(0, 5, [206, 0])], "lowest": -208, "entries": [(2, 1), (412, 1)]}),
    ({"tables": [(0, 0, [1] * 2**17 + [0])] * 2 + [(0, 0, [1] * 189 + [0])]},
     {"tables": [(0, 0, [1] * 2**17 + [0])] * 2 + [(0, 0, [1] * 190 + [0])]}),
    ({"tables": [(0, 0, [1] * 2**17 + [0])]}, {"tables": [(0, 0, [1] * (2**17 + 1) + [0])]}),
], ids=["shift", "lowest value", "highest value", "highest of two", "lowest shifted", "highest shifted",
        "escape shifted", "escape above", "escape below", "excess", "place of step", "gap", "lowest step", "all tables",
        "size"])
@pytest.mark.parametrize("switch", ["0", "1"])
def test_limits_of_a_stream(monkeypatch, good, bad, switch):
    """FORMAT.md, section 11: what is allowed just so, and what is beyond, by both decoders."""
    if switch == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv(SWITCH, switch)
    good, bad = ({"indices": [[0]] * len(case["tables"])} | case for case in (good, bad))
    assert len(symbols_of(stream(**good), [1] * len(good["tables"]))) == len(good["tables"])
    with pytest.raises(FormatError):
        symbols_of(stream(**bad), [1] * len(bad["tables"]))


def test_limit_of_the_number_of_groups():
    round_trip([7, -7], [0, 65535], 65536)
    data = b"\x81\x80\x04" + bytes(65537)
    with pytest.raises(FormatError, match="declares 65537"):
        GroupDecoder(data, 65537, 0)
    with pytest.raises(RefusedError):
        GroupStream(data, 65537, 0)


def test_another_number_of_groups_is_refused():
    data = encode_groups(np.arange(4), np.zeros(4, np.uint8), 3)
    GroupDecoder(data, 3, 4)
    for other in (2, 4):
        with pytest.raises(FormatError, match="another number of groups"):
            GroupDecoder(data, other, 4)


def test_a_step_table_has_an_entry():
    data = stream([(0, 5, ONE)], [[0]], lowest=0, entries=[])
    with pytest.raises(FormatError, match="impossible"):
        symbols_of(data, [1])


@pytest.mark.parametrize("seed", range(150))
def test_damaged_streams_never_crash(seed):
    rng = np.random.default_rng(seed)
    symbols, groups = laplace(seed, 2000, 9)
    symbols[rng.integers(0, 2000, 4)] = 1 << 25
    data = bytearray(encode_groups(symbols, groups, 9))
    if seed % 3 == 0:
        del data[rng.integers(0, len(data)):]
    else:
        for at in rng.integers(0, len(data) if seed % 3 == 1 else 60, rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
    try:
        GroupDecoder(bytes(data), 9, 2000).decode(groups)
    except FormatError as error:
        assert "damaged" in str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_garbage_is_refused_or_harmless(data):
    try:
        GroupDecoder(b"\x03" + data, 3, 100)
    except FormatError:
        pass


def test_counts_are_rounded_by_six_percent_at_most():
    counts = np.unique(np.geomspace(1, 2**26, 4000).astype(np.int64))
    rounded = COUNT_OF_CODE[code_of_count(counts)]
    assert np.all(rounded > 0) and np.all(abs(rounded - counts) <= counts / 15)
    assert np.all(np.diff(COUNT_OF_CODE) > 0) and len(COUNT_OF_CODE) == MAX_CODE
    assert code_of_count(np.array([0]))[0] == 0


def test_lone_outliers_are_escaped_not_tabled():
    table, _ = fit_table(np.append(np.arange(200) % 11, [90_000, -90_000]).astype(np.int32))
    assert (table.low, table.size) == (0, 11)


def given_tables(group):
    """For even groups: one for small numbers, one that leaves three bits outside."""
    return {0: GivenTable(-4, np.array([1, 2, 4, 8, 9, 8, 4, 2, 1, 1]), 0),
            2: GivenTable(-2, np.array([1, 5, 5, 1, 1]), 3)}.get(group)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.integers(-4, 4), INT32), st.integers(0, 5)), max_size=200))
def test_any_symbols_with_given_tables(pairs):
    symbols, groups = np.array([s for s, _ in pairs], np.int32), np.array([g for _, g in pairs], np.uint8)
    data = encode_groups(symbols, groups, 6, given_tables)
    decoder = GroupDecoder(data, 6, len(symbols), given_tables)
    np.testing.assert_array_equal(decoder.decode(groups), symbols)
    decoder.finish()


def test_given_tables_are_for_few_symbols():
    rng = np.random.default_rng(0)
    few, many = (np.rint(rng.laplace(0, 1.5, count)).astype(np.int32) for count in (30, 20_000))
    for symbols, factor in ((few, 0.7), (many, 1.01)):
        groups = np.zeros(len(symbols), np.uint8)
        assert len(encode_groups(symbols, groups, 6, given_tables)) <= factor * len(encode_groups(symbols, groups, 6))


def test_a_given_table_that_is_missing_is_refused():
    data = encode_groups(np.zeros(3, np.int32), np.zeros(3, np.uint8), 6, given_tables)
    with pytest.raises(FormatError, match="missing"):
        GroupDecoder(data, 6, 3, lambda group: None)


def test_logistic_tables():
    assert np.array_equal(SIGMOID, np.rint(2**24 / (1 + np.exp(-np.arange(161) / 16))).astype(int))
    for step in (1, 3, 11, 2**21 + 1):
        tables = [logistic_table(group, step) for group in range(N_GROUPS)]
        assert tables[0] is None and sum(table is not None for table in tables) > 100
        for table in filter(None, tables):
            assert 1 <= table.size <= 400 and table.counts.min() >= 1 and 0 <= table.counts.sum() - 2**24 < 2**14
            assert abs(int(np.argmax(table.counts[:-1])) + table.low) <= 1
