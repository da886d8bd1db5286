"""The card's decoder: the processor's numbers and tokens, whatever company, with graph and without.

Oracles are the processor's decoder and transformers', scipy's chi-square test and `processed`.
"""

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from musicgen_passages import (
    CASES,
    SIZES,
    broken,
    heard_beside_a_broken_one,
    in_company,
    networks,
    passage,
    prefix,
)
from scipy.stats import chisquare
from tiny_musicgen import build_tiny_musicgen
from transformers import MusicgenMelodyForCausalLM
from watching import ASKING, Listed

from voice2music.engines.musicgen import load
from voice2music.engines.musicgen.card import CardDecoder
from voice2music.engines.musicgen.company import Company
from voice2music.engines.musicgen.decoder import Decoder
from voice2music.engines.musicgen.drawing import (
    Sampling,
    Samplings,
    drawn_each,
    processed,
    processed_each,
)
from voice2music.engines.musicgen.loop import Passage, Table, written
from voice2music.engines.musicgen.slots import BUCKET, BURST

__all__ = ["networks"]  # a fixture

Networks = dict[str, MusicgenMelodyForCausalLM]


def on_cpu(network: MusicgenMelodyForCausalLM) -> CardDecoder:
    return CardDecoder(network, "float32", graph=False)


# Numbers


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_the_processors_and_the_librarys_at_every_step(
    networks: Networks, size: str
) -> None:
    """Two requests of two and one runs, in scattered rows of one table."""
    network = networks[size]
    processor, card = Decoder(network, "float32"), on_cpu(network)
    prefixes = torch.stack([prefix(network, 1), prefix(network, 2)])
    columns = torch.randint(0, 32, (4, 40), generator=torch.Generator().manual_seed(3))
    past, rows = card.new_past(4, 2 * BUCKET), torch.tensor([3, 1])
    known = card.embedded(columns[:, :10].T).expand(2, -1, -1)
    sinusoids = card.sinusoids(60)
    card.read(torch.cat([prefixes, known], dim=1) + sinusoids[:30], past, rows)
    single, _ = processor.begin(prefixes, columns[:, :10], steps=30)
    theirs = network(
        columns[None].expand(2, -1, -1).flatten(0, 1), encoder_hidden_states=prefixes
    ).logits.unflatten(0, (2, 4))[:, :, 20:]
    near = {"atol": 1e-4 * float(theirs.std()), "rtol": 1e-4}
    for i in range(10, 40):
        positions = torch.tensor([0, 20 + i, 0, 20 + i])
        hidden = card.embedded(columns[None, :, i]).expand(4, -1) + sinusoids[positions]
        ours = card.step(hidden, past, positions, BUCKET)[rows]
        torch.testing.assert_close(ours, *processor.advance([single], columns[None, :, i]), **near)
        torch.testing.assert_close(ours, theirs[:, :, i], **near)


@pytest.mark.parametrize("size", SIZES)
def test_greedy_tokens_in_company_are_the_processors_alone(networks: Networks, size: str) -> None:
    """Of different lengths, pasts and numbers of runs, and over the border of a bucket."""
    network = networks[size]
    processor, card = Decoder(network, "float32"), on_cpu(network)
    cases = [*CASES, {"seed": 6, "frames": BUCKET + 10, "known": 2}]
    expected = [passage(processor, network, **case) for case in cases]
    ours = [passage(card, network, **case) for case in cases]
    for one, _ in expected:
        list(written(processor, one))
    for news, (one, _) in zip(
        in_company(Company(card), [one for one, _ in ours]), ours, strict=True
    ):
        assert news[-1] == one.steps
        assert news == sorted(news)
    for (_, theirs), (_, codes) in zip(expected, ours, strict=True):
        assert len(theirs.unique()) > 5
        assert torch.equal(codes, theirs)


def test_a_seed_draws_the_same_in_any_company(networks: Networks) -> None:
    network, sampling = networks["middle"], Sampling(20, 1.1, 0.95)
    card = on_cpu(network)
    alone, together = (
        [passage(card, network, sampling=sampling, **case) for case in CASES] for _ in range(2)
    )
    for one, _ in alone:
        list(written(card, one))
    in_company(Company(card, seats=3), [one for one, _ in together])
    for (_, single), (_, batched) in zip(alone, together, strict=True):
        assert torch.equal(single, batched)
    other, codes = passage(card, network, sampling=sampling, **CASES[0])
    other.generator.manual_seed(99)
    list(written(card, other))
    assert not torch.equal(codes, alone[0][1])


def test_the_table_grows_under_those_who_sit_at_it(networks: Networks) -> None:
    """A longer and wider request comes when another is half done."""
    network = networks["tiny"]
    processor, card = Decoder(network, "float32"), on_cpu(network)
    cases = [{"seed": 1, "frames": 40}, {"seed": 2, "frames": 400, "voice": 2.0}]
    (first, codes), (second, longer) = (passage(card, network, **case) for case in cases)
    table = card.table(2)
    table.admit(first)
    table.step([first])
    table.admit(second)
    while not first.done:
        table.step([first, second])
    table.dismiss(first)
    while not second.done:
        table.step([second])
    for case, ours in zip(cases, (codes, longer), strict=True):
        alone, expected = passage(processor, network, **case)
        list(written(processor, alone))
        assert torch.equal(ours, expected)


def test_a_seat_that_was_left_asks_for_no_rows_beyond_those_at_work(networks: Networks) -> None:
    """Rows of one who left lie above all others; on a card, reading there ends the process."""
    network = networks["tiny"]
    processor, card = Decoder(network, "float32"), on_cpu(network)
    cases = [{"seed": i, "voice": voice} for i, voice in enumerate((2.0, 2.0, 1.0, 3.0))]
    cases[2]["words"] = 1.0
    (first, _), (second, _), *rest = (passage(card, network, **case) for case in cases)
    table = card.table(3)
    table.admit(first)
    table.admit(second)
    table.dismiss(first)
    for one, _ in rest:
        table.admit(one)
    assert [place.rows for place in table._places.values()] == [[3, 4, 5], [0], [1, 2]]
    table.dismiss(second)
    while not rest[0][0].done:
        table.step([one for one, _ in rest])
    for case, (_, ours) in zip(cases[2:], rest, strict=True):
        alone, expected = passage(processor, network, **case)
        list(written(processor, alone))
        assert torch.equal(ours, expected)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(5, 40),  # frames
            st.sampled_from([(1.0, 1.0), (3.0, 3.0), (3.0, 2.0)]),  # one, two and three runs
            st.integers(0, 2),  # bursts before it comes
            st.integers(1, 4),  # bursts that it stays at most
        ),
        min_size=4,
        max_size=8,
    )
)
def test_whoever_comes_and_goes_each_writes_what_it_would_alone(
    networks: Networks, visits: list[tuple[int, tuple[float, float], int, int]]
) -> None:
    network = networks["tiny"]
    processor, card = Decoder(network, "float32"), on_cpu(network)
    table, found, stays = card.table(len(visits)), list[tuple[Any, ...]](), dict[Passage, int]()
    for seed, (frames, (words, voice), wait, stay) in enumerate(visits):
        rounds(table, stays, wait)
        case = {"seed": seed, "frames": frames, "words": words, "voice": voice}
        found.append(passage(card, network, **case))
        table.admit(found[-1][0])
        stays[found[-1][0]] = stay
        alone, expected = passage(processor, network, **case)
        list(written(processor, alone))
        found[-1] += (expected,)
    rounds(table, stays, 4)
    assert not stays
    for ours, codes, expected in found:
        complete = ours.complete(ours.taken)
        assert torch.equal(codes[:, :complete], expected[:, :complete])


def rounds(table: Table, stays: dict[Passage, int], count: int) -> None:
    """So many bursts; who is done or has stayed long enough leaves."""
    for _ in range(count if stays else 0):
        table.step(list(stays))
        for one in list(stays):
            stays[one] -= 1
            if one.done or not stays[one]:
                table.dismiss(one)
                del stays[one]
        if not stays:
            return


# Company


def test_one_that_breaks_breaks_alone_and_leaves_nothing_in_its_seat(networks: Networks) -> None:
    network = networks["tiny"]
    card = on_cpu(network)
    company = Company(card, seats=2)
    good, codes = passage(card, network, frames=300)
    listening = heard_beside_a_broken_one(company, good, broken(card, network))
    after, later = passage(card, network, seed=5)
    list(company.written(after))
    assert list(listening)[-1] == good.steps
    for seed, frames, ours in ((0, 300, codes), (5, 30, later)):
        expected, alone = passage(card, network, seed=seed, frames=frames)
        list(written(card, expected))
        assert torch.equal(alone, ours)


def test_leaving_frees_the_seat_within_one_burst(networks: Networks) -> None:
    network = networks["tiny"]
    card = on_cpu(network)
    company = Company(card, seats=1)
    long, _ = passage(card, network, frames=3000)
    listening = company.written(long)
    assert next(listening) % BURST == 0
    listening.close()
    short, _ = passage(card, network, seed=7)
    assert list(company.written(short))[-1] == short.steps
    assert not long.done


def test_a_table_takes_as_much_as_it_says(networks: Networks) -> None:
    network = networks["tiny"]
    card = on_cpu(network)
    passages = [passage(card, network, **case)[0] for case in CASES]
    table = card.table(len(passages))
    for one in passages:
        table.admit(one)
    size = 2 * 2 * 12 * BUCKET * 24 * 4  # kinds, layers, rows (11), positions, width, bytes
    assert table.bytes_for(passages) == size == table._past.nbytes
    for one in passages[1:]:
        table.dismiss(one)
    assert table.bytes_for(passages[:1]) == size  # no rows go while somebody sits
    table.dismiss(passages[0])
    assert table.bytes_for(passages[:1]) == size // 6  # two rows


def test_an_empty_table_stays_as_large_as_it_was_where_there_is_room(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else those who come one by one, now with more rows, now longer, would lose its graphs."""
    card = on_cpu(networks["tiny"])
    table = card.table(2)

    def shape_with(**case: float) -> tuple[int, ...]:
        one, _ = passage(card, networks["tiny"], **case)
        table.admit(one)
        table.dismiss(one)
        return tuple(table._past.shape[1:3])

    assert shape_with(voice=2.0) == (3, BUCKET)
    assert shape_with(frames=300) == (3, 2 * BUCKET)
    assert shape_with(voice=2.0) == (3, 2 * BUCKET)
    monkeypatch.setattr(CardDecoder, "room", card.bytes_of_past(3, 2 * BUCKET))
    assert shape_with(frames=600) == (2, 3 * BUCKET)


# What a graph needs


def test_a_step_asks_the_device_nothing_and_is_the_same_calls_whoever_sits(
    networks: Networks,
) -> None:
    network = networks["middle"]
    card = on_cpu(network)
    passages = [
        passage(card, network, sampling=Sampling(20, 1.1, top_p), **case)[0]
        for case, top_p in zip(CASES, (1.0, 0.9, 1.0, 0.8, 1.0), strict=True)
    ]
    table, lists = card.table(len(passages)), []
    for one in passages:
        table.admit(one)
        with Listed() as listed, torch.inference_mode():
            table._advance(*table._shape(0))
        lists.append(listed.names)
        table.step([one for one in passages if one in table._places])
    assert "index_copy_" in lists[0]  # it does list
    assert all(names == lists[0] for names in lists)
    assert not ASKING & set(lists[0])
    assert lists[0].count("addmm_") == 2 * 6  # layers
    assert lists[0].count("index_copy_") == 6


def test_a_step_needs_nothing_that_is_not_on_the_device(networks: Networks) -> None:
    """On a device that holds no numbers: any that lay elsewhere would show."""
    card = on_cpu(copy.deepcopy(networks["middle"]).to("meta"))
    table = card.table(4)
    table._make_room(6, BUCKET)
    with Listed() as listed, torch.inference_mode():
        table._advance(6, BUCKET)
    assert "addmm_" in listed.names
    assert listed.homes == {"meta"}


# Draws


@pytest.mark.parametrize("count", [1, 3])
@given(st.integers(1, 32), st.floats(0.3, 3.0), st.floats(0.05, 1.0), st.integers(0, 2**31))
def test_each_is_processed_in_its_own_way(
    count: int, top_k: int, temperature: float, top_p: float, seed: int
) -> None:
    ways = [Sampling(top_k, temperature, top_p), Sampling(5, 1.3), Sampling(32, 0.7, 0.6)][:count]
    logits = 3 * torch.randn(count, 4, 32, generator=torch.Generator().manual_seed(seed))
    samplings = Samplings.usual(count, logits.device)
    for i, way in enumerate(ways):
        samplings.put(i, way, 32)
    ours = processed_each(logits, samplings)
    for own, raw, way in zip(ours, logits, ways, strict=True):
        torch.testing.assert_close(own, processed(raw, way))


@pytest.mark.parametrize("sampling", [Sampling(32, 1.0), Sampling(6, 1.5), Sampling(32, 1.0, 0.7)])
def test_draws_pass_a_chi_square_test(sampling: Sampling) -> None:
    count, generator = 40_000, torch.Generator().manual_seed(11)
    logits = torch.randn(1, 1, 32, generator=generator)
    samplings = Samplings.usual(1, logits.device)
    samplings.put(0, sampling, 32)
    noise = torch.empty(1, count, 32).exponential_(generator=generator)
    tokens = drawn_each(logits.expand(-1, count, -1), samplings, noise)[0]
    chances = processed(logits, sampling).softmax(dim=-1)[0, 0].double()
    seen, allowed = tokens.bincount(minlength=32), chances > 0
    assert int(seen[~allowed].sum()) == 0
    expected = chances[allowed] / chances.sum() * count
    assert chisquare(seen[allowed], expected).pvalue > 0.001
    assert chisquare(seen[allowed], expected.roll(1)).pvalue < 1e-6


# On a card


needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA graphics card")


@pytest.mark.gpu
@needs_card
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_replay_what_runs_without_them(networks: Networks, precision: str) -> None:
    """The same kernels on the same rows: the same tokens to the last, drawn ones."""
    network = copy.deepcopy(networks["middle"]).to("cuda")
    cases = [*CASES, {"seed": 6, "frames": BUCKET + 10, "known": 2}]
    found = []
    for graph in (False, True):
        card = CardDecoder(network, precision, graph=graph)
        table = card.table(len(cases))
        passages = [passage(card, network, sampling=Sampling(20, 1.1), **case) for case in cases]
        for one, _ in passages:
            table.admit(one)
        while going := [one for one, _ in passages if not one.done]:
            table.step(going)
            for one, _ in passages:
                if one.done:
                    table.dismiss(one)
        assert bool(table._graphs._graphs) == graph  # and no capture failed
        found.append([codes for _, codes in passages])
    for without, with_ in zip(*found, strict=True):
        assert len(without.unique()) > 5
        assert torch.equal(without, with_)


@pytest.mark.gpu
@needs_card
def test_two_tables_capture_at_once(networks: Networks) -> None:
    """Requests in company and one alone, each thread with graphs of its own."""
    network = copy.deepcopy(networks["tiny"]).to("cuda")
    card = CardDecoder(network, "float32", graph=True)
    pairs = [[passage(card, network, **case) for case in CASES] for _ in range(2)]
    threads = [
        threading.Thread(target=in_company, args=(Company(card), [one for one, _ in pair]))
        for pair in pairs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for (one, ours), (other, theirs) in zip(*pairs, strict=True):
        assert one.done
        assert other.done
        assert torch.equal(ours, theirs)


@pytest.mark.gpu
@needs_card
def test_a_card_is_given_the_cards_decoder(tmp_path: Path) -> None:
    decoder = load(build_tiny_musicgen(tmp_path / "tiny"), "cuda").decoder
    assert isinstance(decoder, CardDecoder)
    assert decoder.graph
