"""What makes each genre itself, and the reader of the style files."""

import itertools
import tomllib
from importlib.resources import files

import numpy as np
import pytest
from bandroom import drum, places, played, track

from voice2music.errors import BadRequest
from voice2music.gm import KITS
from voice2music.styles import bars, read_style, style, styles

ALL = tuple(styles())
BACKBEAT = {1.0, 3.0}
ON_BEATS = {0.0, 1.0, 2.0, 3.0}
OFF_BEATS = {0.5, 1.5, 2.5, 3.5}


def programs(name):
    return {layer.name: layer.instrument.name for layer in style(name).layers}


def thirds(struck, root_by_note):
    """Share of notes that are a third of their chord."""
    return np.mean([(n.midi - root_by_note(n)) % 12 in (3, 4) for n in struck])


def root_of(arrangement):
    def root(note):
        return next(s for s in reversed(arrangement.chords) if s.start <= note.onset + 0.05)

    return lambda note: root(note).chord.root


def test_there_are_twenty_styles_and_pop_disco_and_rock_come_first():
    assert ALL[:3] == ("pop", "disco", "rock")
    assert len(ALL) >= 20
    assert {"jazz", "bossa-nova", "reggae", "funk", "soul", "blues", "country", "folk"} <= set(ALL)
    assert {"waltz", "metal", "house", "hip-hop", "lo-fi", "orchestral", "ambient"} <= set(ALL)
    assert {"salsa", "arabic"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_style_has_words_moods_and_a_tempo_inside_its_range(name):
    found = style(name)
    assert len(found.prompt.split()) >= 6
    assert len(found.moods) >= 3
    low, high = found.tempo_range
    assert low < found.tempo < high
    assert high / low > 1.1


@pytest.mark.parametrize("name", ALL)
def test_no_two_players_of_a_band_have_the_same_name(name):
    found = style(name)
    names = [found.lead.name, *(layer.name for layer in found.layers), "Drums"]
    assert len(set(names)) == len(names)
    assert set(found.intro) <= set(names)


@pytest.mark.parametrize("name", ALL)
def test_every_register_is_wide_enough_for_any_chord(name):
    for layer in style(name).layers:
        assert layer.instrument.high - layer.instrument.low >= 12, layer.name
    lead = style(name).lead.instrument
    assert lead.high - lead.low >= 19


def test_an_unknown_style_is_refused_with_a_list_of_the_known_ones():
    with pytest.raises(BadRequest, match="polka.*pop, disco, rock"):
        style("polka")


def test_a_style_is_found_whatever_its_capitals_and_blanks():
    assert style("Bossa Nova") is style("bossa-nova")


def values(name):
    path = files("voice2music.styles") / f"{name}.toml"
    return tomllib.loads(path.read_text("utf-8"))


def test_a_bar_that_is_too_short_is_refused_with_its_text():
    broken = values("pop")
    broken["layer"][0]["patterns"] = ["1--"]
    with pytest.raises(BadRequest, match="'1--' has 3 steps, not 16"):
        read_style("mine", broken)


def test_a_mark_that_its_player_cannot_read_is_refused_with_those_it_can():
    broken = values("pop")
    broken["layer"][0]["patterns"] = ["1--- 2--- 1--- 1---"]
    with pytest.raises(BadRequest, match=r"'2' in the bar .* is none of '\.-1345678a'"):
        read_style("mine", broken)
    broken = values("pop")
    broken["drums"]["groove"][0]["kick"] = "x... .... .... ...."
    with pytest.raises(BadRequest, match="'x'"):
        read_style("mine", broken)


@pytest.mark.parametrize(
    ("place", "key"), [((), "tempos"), (("lead",), "programme"), (("layer", 0), "paterns")]
)
def test_a_misspelt_key_is_refused_by_name(place, key):
    broken = values("pop")
    table = broken
    for step in place:
        table = table[step]
    table[key] = 1
    with pytest.raises(BadRequest, match=key):
        read_style("mine", broken)


def test_a_missing_key_is_refused_by_name():
    broken = values("pop")
    del broken["tempo"]
    with pytest.raises(BadRequest, match="'tempo' is missing"):
        read_style("mine", broken)


def test_blanks_in_a_pattern_are_for_the_eye():
    assert bars("9... 5... | .... 7...", 8) == ("9...5...", "....7...")


# What makes each one itself.


def test_pop_has_a_backbeat_and_piano_over_bass():
    song = played("pop")
    assert places(drum(song, "snare"), song.grid, steps=4) >= BACKBEAT
    assert 0.0 in places(drum(song, "kick"), song.grid, steps=4)
    assert "Acoustic Grand Piano" in programs("pop").values()


def test_disco_is_four_on_the_floor_with_open_hats_off_the_beat_near_120():
    song = played("disco")
    assert places(drum(song, "kick"), song.grid, steps=4) == ON_BEATS
    assert places(drum(song, "open"), song.grid, steps=4) == OFF_BEATS
    assert 115 <= style("disco").tempo <= 125
    bass = [n.midi for n in track(song, "Bass")]
    octaves = [abs(b - a) == 12 for a, b in itertools.pairwise(bass)]
    assert np.mean(octaves) > 0.5


def test_rock_is_driven_by_power_chords_without_thirds_over_a_backbeat():
    song = played("rock")
    assert places(drum(song, "snare"), song.grid, steps=4) == BACKBEAT
    assert programs("rock")["Rhythm guitar"] == "Distortion Guitar"
    assert thirds(track(song, "Rhythm guitar"), root_of(song)) == 0
    assert places(track(song, "Bass"), song.grid, steps=4) >= ON_BEATS | OFF_BEATS - {3.5}


def test_jazz_swings_in_triplets_with_hi_hat_on_two_and_four_over_a_walking_bass():
    song = played("jazz")
    assert style("jazz").steps == 3
    assert {1.67, 3.67} <= places(drum(song, "ride"), song.grid, steps=3)
    assert places(drum(song, "pedal"), song.grid, steps=3) == BACKBEAT
    bass = track(song, "Bass")
    assert places(bass, song.grid, steps=3) >= ON_BEATS
    moves = [abs(b.midi - a.midi) for a, b in itertools.pairwise(bass)]
    assert np.median(moves) <= 5
    assert np.mean(np.array(moves) > 0) > 0.8  # it walks, it does not stand


def test_bossa_nova_has_its_clave_on_the_rim_a_nylon_guitar_and_no_backbeat():
    song = played("bossa-nova")
    rim = drum(song, "rim")
    assert places(rim, song.grid, bars=[0], steps=2) == {0.0, 1.5, 3.0}
    assert places(rim, song.grid, bars=[1], steps=2) == {1.0, 2.5}
    assert not drum(song, "snare")
    assert programs("bossa-nova")["Guitar"] == "Nylon Guitar"


def test_reggae_leaves_the_one_empty_and_skanks_off_the_beat():
    song = played("reggae")
    assert places(drum(song, "kick"), song.grid, steps=4) == BACKBEAT
    assert places(track(song, "Skank"), song.grid, bars=range(4), steps=4) <= OFF_BEATS | {3.75}
    assert style("reggae").tempo <= 80
    assert places(track(song, "Organ bubble"), song.grid, steps=4).isdisjoint(ON_BEATS)


def test_funk_is_syncopated_in_sixteenths_with_ghost_notes_and_slap_bass():
    song = played("funk")
    kick = places(drum(song, "kick"), song.grid, steps=4)
    assert 0.0 in kick
    assert len(kick - ON_BEATS) >= 3
    snare = [n.velocity for n in drum(song, "snare")]
    assert min(snare) < 45 < 100 < max(snare)
    assert programs("funk")["Bass"].startswith("Slap Bass")
    assert "Clavinet" in programs("funk").values()


def test_soul_has_a_late_backbeat_electric_piano_and_answering_horns():
    song = played("soul")
    assert places(drum(song, "snare"), song.grid, steps=4) >= BACKBEAT
    late = [
        n.onset - song.grid.time_at(round(song.grid.beat_at(n.onset)))
        for n in drum(song, "snare")
        if n.velocity > 80
    ]
    assert 0.004 < np.median(late) < 0.025
    assert programs("soul")["Horns"] == "Brass Section"
    assert "Electric Piano 1" in programs("soul").values()


def test_blues_shuffles_in_triplets_on_dominant_sevenths():
    song = played("blues")
    assert style("blues").steps == 3
    hats = places(drum(song, "hat"), song.grid, steps=3)
    assert {0.67, 1.67, 2.67, 3.67} <= hats
    assert {0.33, 1.33}.isdisjoint(hats)
    root = root_of(song)
    piano = [(n.midi - root(n)) % 12 for n in track(song, "Piano")]
    assert piano.count(10) > 5 * piano.count(11)  # the odd one is struck for the next chord


def test_country_goes_boom_chick_with_a_train_beat_and_a_fiddle():
    song = played("country")
    assert places(track(song, "Bass"), song.grid, bars=[0, 1, 2], steps=4) <= {0.0, 2.0, 3.0}
    chicks = [n for n in track(song, "Acoustic guitar") if n.velocity > 80]
    assert places(chicks, song.grid, steps=1) == BACKBEAT
    assert len(places(drum(song, "snare"), song.grid, steps=4)) == 16
    assert style("country").lead.instrument.name == "Fiddle"
    assert programs("country")["Banjo"] == "Banjo"


def test_folk_is_finger_picked_without_snare_or_hi_hat():
    song = played("folk")
    assert not drum(song, "snare")
    assert not drum(song, "hat")
    picked = track(song, "Guitar")
    onsets = np.diff([n.onset for n in picked])
    assert np.median(onsets) > 0.15  # one string after the other
    assert programs("folk")["Guitar"] == "Steel Guitar"


def test_a_waltz_is_in_three_with_the_bass_on_one_and_chords_on_two_and_three():
    song = played("waltz")
    assert song.grid.beats_per_bar == 3
    assert places(track(song, "Bass"), song.grid, size=3, bars=range(6), steps=2) == {0.0}
    chords = places(track(song, "Pizzicato"), song.grid, size=3, bars=range(6), steps=2)
    assert chords == {1.0, 2.0}


def test_metal_has_double_bass_drums_and_low_distorted_guitars_on_both_sides():
    song = played("metal")
    kick = drum(song, "kick")
    beats = song.grid.beat_at(song.closing) - song.grid.downbeat
    assert len(kick) / beats >= 2.5
    left, right = (track(song, f"Rhythm guitar {side}") for side in ("left", "right"))
    assert min(n.midi for n in left + right) < 41
    assert thirds(left, root_of(song)) == 0
    pans = {la.name: la.instrument.pan for la in style("metal").layers}
    assert pans["Rhythm guitar left"] < -0.7 < 0.7 < pans["Rhythm guitar right"]
    assert style("metal").tempo >= 140


def test_house_is_a_machine_four_on_the_floor_with_the_bass_between_the_kicks():
    song = played("house")
    assert style("house").drums.instrument.program == KITS["electronic"]
    assert places(drum(song, "kick"), song.grid, steps=4) == ON_BEATS
    assert places(drum(song, "open"), song.grid, steps=4) == OFF_BEATS
    assert places(drum(song, "clap"), song.grid, steps=4) == BACKBEAT
    assert places(track(song, "Bass"), song.grid, bars=range(3), steps=4).isdisjoint(ON_BEATS)
    sixteenths = np.array([4 * song.grid.beat_at(n.onset) for n in drum(song, "kick")])
    assert np.abs(sixteenths - np.round(sixteenths)).max() < 1e-6  # a machine is never late
    assert 118 <= style("house").tempo <= 130


def test_hip_hop_is_slow_and_low_with_a_broken_kick_and_a_swung_backbeat():
    song = played("hip-hop")
    assert 80 <= style("hip-hop").tempo <= 100
    assert style("hip-hop").swing > 0.54
    kick = places(drum(song, "kick"), song.grid, steps=4)
    assert not kick >= ON_BEATS
    assert kick - ON_BEATS
    assert places(drum(song, "snare"), song.grid, steps=4) == BACKBEAT
    assert np.median([n.midi for n in track(song, "Bass")]) <= 38
    assert style("hip-hop").drums.instrument.program == KITS["808"]


def test_lo_fi_is_slow_dull_and_lazy():
    song = played("lo-fi")
    assert style("lo-fi").tempo < 90
    assert style("lo-fi").treble < 0
    assert style("lo-fi").drums.late["snare"] >= 0.012
    root = root_of(song)
    chords = [(n.midi - root(n)) % 12 for n in track(song, "Electric piano")]
    assert {10, 11} & set(chords)  # sevenths


def test_the_orchestra_has_strings_horns_and_timpani_and_no_drum_kit():
    names = set(programs("orchestral").values())
    assert {"Contrabass", "Cello", "French Horn", "Timpani", "Harp", "Trombone"} <= names
    song = played("orchestral")
    assert not drum(song, "hat")
    assert style("orchestral").room_seconds >= 2


def test_ambient_has_no_drums_few_onsets_and_a_long_reverb():
    song = played("ambient")
    assert style("ambient").drums is None
    onsets = {round(n.onset, 1) for t in song.tracks if t.name != "Ocarina" for n in t.notes}
    assert len(onsets) / song.seconds < 2
    assert style("ambient").room_seconds >= 3
    assert style("ambient").tempo <= 80


def test_salsa_keeps_the_clave_and_its_bass_comes_before_the_beat():
    song = played("salsa")
    claves = places(drum(song, "claves"), song.grid, steps=4)
    assert claves == {0.0, 0.75, 1.5, 2.5, 3.0}
    assert 0.0 not in places(track(song, "Bass"), song.grid, bars=range(4), steps=4)
    assert drum(song, "conga_high")
    # The note before the bar line is the next chord's (bar 1 is C, bar 2 F).
    push = [n for n in track(song, "Bass") if 3.4 < song.grid.beat_at(n.onset) < 3.6]
    assert [n.midi % 12 for n in push] == [5]


def test_arabic_beats_maqsum_and_its_lead_can_play_quarter_tones():
    song = played("arabic")
    assert places(drum(song, "conga_low"), song.grid, steps=2) == {0.0, 2.0}  # doum
    teks = [n for n in drum(song, "bongo_high") if n.velocity > 70]
    assert places(teks, song.grid, steps=4) == {0.5, 1.5, 3.0}  # tek
    assert style("arabic").lead.quarter_tones
    assert thirds(track(song, "Drone"), root_of(song)) == 0


def test_the_genres_differ_in_density_tempo_and_register():
    def density(name):
        song = played(name)
        return sum(len(t.notes) for t in song.tracks) / song.seconds

    assert density("ambient") < 0.3 * density("funk")
    assert density("folk") < density("country")
    assert style("reggae").tempo < style("pop").tempo < style("metal").tempo
