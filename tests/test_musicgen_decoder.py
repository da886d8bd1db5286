"""The decoder of our own: the library's numbers, draws by the book, and company that is not heard.

Oracles are transformers' decoder, its logits processors, and scipy's chi-square test.
"""

import itertools
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
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
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import MusicgenMelodyForCausalLM
from transformers.generation.logits_process import (
    ClassifierFreeGuidanceLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from voice2music.engines.musicgen import load
from voice2music.engines.musicgen.company import SEATS, Company
from voice2music.engines.musicgen.decoder import Decoder
from voice2music.engines.musicgen.drawing import Sampling, drawn, processed
from voice2music.engines.musicgen.linears import MANY, Dense, Int8, int8_pays
from voice2music.engines.musicgen.loading import whole_model
from voice2music.engines.musicgen.loop import guided, written
from voice2music.errors import BadRequest

__all__ = ["networks"]  # a fixture

# The decoder


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_the_librarys_at_every_step(
    networks: dict[str, MusicgenMelodyForCausalLM], size: str
) -> None:
    network = networks[size]
    decoder = Decoder(network, "float32")
    prefixes = torch.stack([prefix(network, 1), prefix(network, 2)])
    columns = torch.randint(0, 32, (4, 60), generator=torch.Generator().manual_seed(3))
    past, logits = decoder.begin(prefixes, columns[:, :10], steps=50)
    ours = [logits]
    for i in range(10, 60):
        ours += decoder.advance([past], columns[None, :, i])
    theirs = network(
        columns[None].expand(2, -1, -1).flatten(0, 1), encoder_hidden_states=prefixes
    ).logits.unflatten(0, (2, 4))[:, :, 20 + 9 :]
    ours = torch.stack(ours, dim=2)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.std()), rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_greedy_tokens_of_a_middle_sized_model_equal_the_librarys(
    networks: dict[str, MusicgenMelodyForCausalLM], scale: float
) -> None:
    """As the library decodes: its decoder, its cache, one column at a time."""
    network = networks["middle"]
    decoder = Decoder(network, "float32")
    own, codes = passage(decoder, network, frames=100, words=scale, voice=scale)
    list(written(decoder, own))
    prefixes = torch.stack([prefix(network, 0), prefix(network, 2)][: 1 if scale == 1 else 2])
    expected = library_greedy(network, prefixes, scale, frames=100)
    assert len(codes.unique()) > 10
    assert torch.equal(codes, expected)


@torch.no_grad()
def library_greedy(
    network: MusicgenMelodyForCausalLM, prefixes: torch.Tensor, scale: float, frames: int
) -> torch.Tensor:
    """Codes, shape (4, frames), by the library's decoder and its own guidance and delays."""
    pad, cache = network.config.pad_token_id, None
    ids, mask = network.build_delay_pattern_mask(
        torch.full((4, 1), pad), pad_token_id=pad, max_length=frames + 4
    )
    hidden: torch.Tensor | None = prefixes
    while ids.shape[1] < frames + 4:
        ids = network.apply_delay_pattern_mask(ids, mask)
        out = network(
            ids[:, -1:].repeat(len(prefixes), 1),
            encoder_hidden_states=hidden,
            past_key_values=cache,
            use_cache=True,
        )
        hidden, cache = None, out.past_key_values
        logits = out.logits[:, -1]
        if scale != 1:
            logits = ClassifierFreeGuidanceLogitsProcessor(scale)(ids, logits)
        ids = torch.cat([ids, logits.argmax(dim=-1, keepdim=True)], dim=1)
    ids = network.apply_delay_pattern_mask(ids, mask)
    return torch.stack([ids[book, book + 1 : book + 1 + frames] for book in range(4)])


def test_a_decoder_that_spends_its_network_holds_the_weights_once(tmp_path: Path) -> None:
    network = whole_model(build_tiny_musicgen(tmp_path / "tiny"), torch.float32).decoder
    kept = Decoder(network, "float32")
    spent = Decoder(network, "float32", spend=True)
    assert all(weight.is_meta for weight in network.parameters())
    prefixes, columns = torch.ones(1, 3, 24), torch.zeros(4, 2, dtype=torch.long)
    assert torch.equal(spent.begin(prefixes, columns, 1)[1], kept.begin(prefixes, columns, 1)[1])


# Precision


@given(
    st.integers(1, 9) | st.integers(MANY - 2, MANY - 1) | st.integers(MANY, 2 * MANY),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
def test_int8_products_are_near_and_the_same_in_any_company(
    rows: int, wide: int, out: int, seed: int
) -> None:
    """Rounded to 8 bits: a step of the weights is 1/127 of each row's largest, noise after that."""
    generator = torch.Generator().manual_seed(seed)
    layer = torch.nn.Linear(16 * wide, out, bias=False)
    layer.weight.data = torch.randn(out, 16 * wide, generator=generator)
    given_ = torch.randn(rows, 16 * wide, generator=generator)
    exact = Dense([layer], torch.float32)(given_)
    torch.testing.assert_close(exact, given_ @ layer.weight.T)
    ours = Int8([layer])(given_)
    largest = layer.weight.detach().abs().amax(dim=1) * given_.norm(dim=1, keepdim=True)
    assert float(((ours - exact).abs() / largest).max()) < 0.03  # bfloat16 is good for 1 in 256
    alone = torch.cat([Int8([layer])(row[None]) for row in given_])
    if rows < MANY:
        assert torch.equal(ours, alone)
    else:
        assert float(((ours - alone).abs() / largest).max()) < 0.02


def test_int8_and_bfloat16_choose_nearly_the_same_tokens(
    networks: dict[str, MusicgenMelodyForCausalLM],
) -> None:
    """On one and the same past; a random network is the hardest case, nothing in it is certain."""
    network = networks["middle"]
    columns = torch.randint(0, 32, (4, 200), generator=torch.Generator().manual_seed(3))
    prefixes = prefix(network, 1)[None]

    def choices(precision: str) -> torch.Tensor:
        decoder = Decoder(network, precision)
        past, logits = decoder.begin(prefixes, columns[:, :1], steps=199)
        each = [logits] + [decoder.advance([past], columns[None, :, i])[0] for i in range(1, 200)]
        return torch.cat(each).argmax(dim=-1)

    exact = choices("float32")
    for precision in ("bfloat16", "int8"):
        assert float((choices(precision) == exact).float().mean()) > 0.9


@pytest.mark.skipif(not int8_pays(), reason="needs a processor with AVX2")
def test_int8_is_chosen_where_it_fits(tmp_path: Path) -> None:
    even = build_tiny_musicgen(tmp_path / "even", sizes=SIZES["even"])
    odd = build_tiny_musicgen(tmp_path / "odd")  # 24 wide
    assert load(even, "cpu").decoder.precision == "int8"
    assert load(even, "cpu", precision="float32").decoder.precision == "float32"
    assert load(even, "cpu", precision="bfloat16").decoder.precision == "bfloat16"
    assert load(odd, "cpu").decoder.precision == "float32"
    with pytest.raises(BadRequest, match="multiples of 16"):
        load(odd, "cpu", precision="int8")


# Draws


@pytest.mark.parametrize("sampling", [
    Sampling(5, 1.3), Sampling(32, 0.7), Sampling(32, 1.0, 0.6), Sampling(9, 2.0, 0.8),
])  # fmt: skip
def test_processed_logits_are_the_librarys(sampling: Sampling) -> None:
    logits = 3 * torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    expected = TemperatureLogitsWarper(sampling.temperature)(None, logits)
    expected = TopKLogitsWarper(sampling.top_k)(None, expected)
    if sampling.top_p < 1:
        expected = TopPLogitsWarper(sampling.top_p)(None, expected)
    assert torch.equal(processed(logits, sampling), expected)


@torch.no_grad()
def test_guided_logits_are_the_librarys(networks: dict[str, MusicgenMelodyForCausalLM]) -> None:
    """What is drawn from: both runs' logits through its classifier-free guidance and warpers."""
    network, seen = networks["tiny"], []
    decoder = Decoder(network, "float32")
    own, _ = passage(decoder, network)
    _, logits = decoder.begin(own.prefixes, own.known_columns, own.steps - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "voice2music.engines.musicgen.loop.drawn",
            lambda mixed, *rest: seen.append(mixed) or [0] * 4,
        )
        own.draw(logits)
    none = torch.zeros(4, 0)
    expected = ClassifierFreeGuidanceLogitsProcessor(3.0)(none, logits.flatten(0, 1))
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("sampling", [Sampling(32, 1.0), Sampling(6, 1.5), Sampling(32, 1.0, 0.7)])
def test_draws_pass_a_chi_square_test(sampling: Sampling) -> None:
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(1, 32, generator=generator)
    count = 40_000
    tokens = drawn(logits.expand(count, -1), sampling, generator)
    chances = processed(logits, sampling).softmax(dim=-1)[0].double()
    seen = torch.tensor(tokens).bincount(minlength=32)
    allowed = chances > 0
    assert int(seen[~allowed].sum()) == 0
    expected = chances[allowed] / chances.sum() * count
    assert chisquare(seen[allowed], expected).pvalue > 0.001
    shifted = expected.roll(1)  # the test can fail: other chances are found out
    assert chisquare(seen[allowed], shifted).pvalue < 1e-6


# Company


def test_a_full_company_has_fewer_rows_than_are_computed_otherwise() -> None:
    one = torch.ones(1, 1)
    assert SEATS * len(guided(one, one, one, words=3, voice=2)) < MANY


@pytest.mark.parametrize(("size", "precision"), [("tiny", "float32"), ("even", "int8")])
def test_batched_rows_equal_single_rows(
    networks: dict[str, MusicgenMelodyForCausalLM], size: str, precision: str
) -> None:
    """Of any length, strength and past; drawn, so that a changed number would be found out."""
    network = networks[size]
    decoder = Decoder(network, precision)
    sampling = Sampling(20, 1.1)
    single, together = (
        [passage(decoder, network, sampling=sampling, **case) for case in CASES] for _ in range(2)
    )
    for one, _ in single:
        assert list(written(decoder, one))[-1] == one.steps
    heard = in_company(Company(decoder), [one for one, _ in together])
    for news, (one, _) in zip(heard, together, strict=True):
        assert news[-1] == one.steps
        assert news == sorted(news)
    for (_, alone), (_, batched) in zip(single, together, strict=True):
        assert torch.equal(alone, batched)
    everything = [codes for _, codes in single]
    assert not any(
        torch.equal(a[:, -10:], b[:, -10:]) for a, b in itertools.combinations(everything, 2)
    )


@pytest.mark.parametrize("small", [True, False])
def test_small_steps_stay_on_one_core_and_others_work_stays_as_it_was(
    networks: dict[str, MusicgenMelodyForCausalLM], small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voice2music.engines.musicgen.decoder.WIDE", 1024 if small else 1)
    decoder, found = Decoder(networks["tiny"], "float32"), []
    advance = decoder.advance
    monkeypatch.setattr(
        decoder, "advance", lambda *given: found.append(torch.get_num_threads()) or advance(*given)
    )
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        one, _ = passage(decoder, networks["tiny"])
        for _ in Company(decoder).written(one):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)
    assert set(found) == {1 if small else 3}


def test_many_requests_share_the_steps(networks: dict[str, MusicgenMelodyForCausalLM]) -> None:
    """Counted, not timed: eight passages of forty frames take hardly more steps than one."""
    network, calls = networks["tiny"], []
    decoder = Decoder(network, "float32")
    advance = decoder.advance
    decoder.advance = lambda pasts, columns: calls.append(len(pasts)) or advance(pasts, columns)
    passages = [passage(decoder, network, seed=i, frames=200)[0] for i in range(8)]
    in_company(Company(decoder), passages)
    assert sum(calls) == 8 * (203 - 1)  # a passage's first step reads its conditions
    assert len(calls) < 0.3 * sum(calls)


def test_more_than_there_are_seats_wait(networks: dict[str, MusicgenMelodyForCausalLM]) -> None:
    network, most = networks["tiny"], []
    decoder = Decoder(network, "float32")
    advance = decoder.advance
    decoder.advance = lambda pasts, columns: most.append(len(pasts)) or advance(pasts, columns)

    def busiest(**limits: int) -> int:
        most.clear()
        passages = [passage(decoder, network, seed=i, frames=100)[0] for i in range(7)]
        in_company(Company(decoder, **limits), passages)
        assert all(one.done for one in passages)
        return max(most)

    size = decoder.table(1).bytes_for([passage(decoder, network, frames=100)[0]])
    assert size == 2 * 2 * 2 * (20 + 103) * 24 * 4  # kinds, layers, branches, positions, width
    assert busiest() > 3
    assert busiest(seats=2) == 2
    assert busiest(room=3 * size) == 3
    assert busiest(room=1) == 1  # too large for the room: by itself


def test_leaving_frees_the_seat_and_disturbs_nobody(
    networks: dict[str, MusicgenMelodyForCausalLM],
) -> None:
    network = networks["tiny"]
    decoder = Decoder(network, "float32")
    company = Company(decoder, seats=1)
    long, _ = passage(decoder, network, frames=4000)
    listening = company.written(long)
    next(listening)
    listening.close()
    short, codes = passage(decoder, network, seed=7)
    assert list(company.written(short))[-1] == short.steps
    assert not long.done
    expected, alone = passage(decoder, network, seed=7)
    list(written(decoder, expected))
    assert torch.equal(codes, alone)


def test_one_after_the_other_none_is_forgotten(
    networks: dict[str, MusicgenMelodyForCausalLM],
) -> None:
    """The thread ends when nobody is there, which may be just when somebody comes."""
    network = networks["tiny"]
    decoder = Decoder(network, "float32")
    company, done = Company(decoder), []

    def visit(seed: int) -> None:
        for i in range(40):
            one, _ = passage(decoder, network, seed=seed + i, frames=2)
            list(company.written(one))
            done.append(one.done)

    threads = [threading.Thread(target=visit, args=(100 * i,), daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert done == [True] * 120


def test_who_waits_for_a_seat_can_leave(networks: dict[str, MusicgenMelodyForCausalLM]) -> None:
    network = networks["tiny"]
    decoder = Decoder(network, "float32")
    company = Company(decoder, seats=1)
    sitting = company.written(passage(decoder, network, frames=20_000)[0])
    next(sitting)
    waiting = company.written(passage(decoder, network)[0])
    assert next(waiting) == 0
    waiting.close()
    sitting.close()


def test_a_table_that_breaks_is_told_to_all_and_replaced(
    networks: dict[str, MusicgenMelodyForCausalLM],
) -> None:
    network = networks["tiny"]
    decoder = Decoder(network, "float32")
    company = Company(decoder)
    table, decoder.table = decoder.table, None
    with pytest.raises(TypeError):
        list(company.written(passage(decoder, network)[0]))
    decoder.table = table
    again, _ = passage(decoder, network)
    assert list(company.written(again))[-1] == again.steps


def test_one_that_breaks_breaks_alone(networks: dict[str, MusicgenMelodyForCausalLM]) -> None:
    network = networks["tiny"]
    decoder = Decoder(network, "float32")
    company = Company(decoder)
    good, _ = passage(decoder, network, frames=300)
    listening = heard_beside_a_broken_one(company, good, broken(decoder, network))
    assert list(listening)[-1] == good.steps


# Counts that may not grow


class _Counted(TorchDispatchMode):
    """Calls of torch's functions, and bytes of what they newly make."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, torch.Tensor)}
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in known:
            self.calls += 1
            self.bytes += out.nbytes
        return out


def test_a_step_costs_few_calls_and_copies_no_past(
    networks: dict[str, MusicgenMelodyForCausalLM],
) -> None:
    network = networks["middle"]
    decoder = Decoder(network, "float32")
    prefixes, column = torch.zeros(2, 20, 256), torch.zeros((1, 4), dtype=torch.long)
    past, _ = decoder.begin(prefixes, column.T, steps=1000)
    counts = []
    for _ in range(1000):
        with _Counted() as counted:
            decoder.advance([past], column)
        counts.append(counted)
    first, last = counts[1], counts[-1]
    assert first.calls == last.calls <= 26 * 6 + 20  # six layers
    attention = 2 * 2 * 4 * 6 * 4 * (1000 - 2)  # scores and shares: branches, heads, layers, bytes
    assert last.bytes - first.bytes <= attention
    assert first.bytes < 2**19
