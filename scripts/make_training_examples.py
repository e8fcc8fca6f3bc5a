"""Write the generated "train" part of assets/examples/sst2.jsonl; the "look" part is not changed.

    python -m scripts.make_training_examples [--check]

Each sentence is a frame filled with words. A slot {name} takes a word of the label's polarity (lists "name +" and
"name -"), {!name} one of the opposite polarity, and lists without a sign are neutral, so the label is correct by
construction. Words and frames are drawn without replacement until a list is used up, with a fixed seed, so the result
is the same on every machine. With --check nothing is written, and the exit code is 1 if the train part is out of date.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

PATH = Path(__file__).resolve().parents[1] / "assets" / "examples" / "sst2.jsonl"
SEED = 2024
COUNTS = {
    "plain": 420,
    "negation": 360,
    "contrast": 340,
    "comparison": 200,
    "long": 200,
    "neutral-ish": 140,
    "idiom": 120,
    "irony": 100,
    "misspelt": 100,
    "short": 80,
}
VERBS = {"be": "is are", "was": "was were", "benot": "isn't aren't"}
# Topics have singular and plural nouns and adjectives that are safe to negate; "gadj" fits every
# topic; "adj" describes a whole film, and those with a star ("cadj") may follow "more" or "as";
# "dark" words occur in praise, "light" words in blame; "ironic" ones sound like their reverse.
# The frames come last, by kind: for either label (*), for negative (-), for positive (+).
WORDS = """
[acting singular] the acting|the lead performance|the lead actress|the leading man|the casting
[acting plural] the supporting players|the two leads|the child actors|the performances|the minor
roles [acting -] wooden|stilted|stiff|hammy|one-note|unconvincing|mannered|lifeless|overwrought
[acting +] natural|magnetic|believable|nuanced|expressive|convincing|charismatic
[writing singular] the script|the dialogue|the plot|the story|the ending|the humour|the mystery|the
premise [writing plural] the jokes|the twists|the characters|the subplots|the one-liners|the
speeches [writing -] trite|contrived|predictable|muddled|clunky|threadbare|corny|clichéd|implausible
[writing +] clever|sharp|witty|surprising|intelligent|well crafted|insightful [sound singular] the
score|the soundtrack|the music|the title song|the sound design|the choir music [sound plural] the
songs|the piano pieces|the musical numbers|the violin solos [sound -] intrusive|overbearing|shrill|
syrupy|tuneless|monotonous|irritating|bombastic [sound +] stirring|evocative|memorable|beautiful|
rousing|atmospheric|soulful|enchanting|graceful [visual singular] the camerawork|the photography|the
lighting|the animation|the set design|the make-up [visual plural] the costumes|the special effects|
the sets|the backdrops|the visuals|the location shots [visual -] murky|garish|cheap-looking|
washed-out|plasticky|ugly|tacky|drab [visual +] gorgeous|stunning|breathtaking|eye-catching|
dazzling|luminous|handsome|sumptuous|radiant [pace singular] the pacing|the editing|the direction|
the storytelling|the opening hour|the final third [pace plural] the chase scenes|the action scenes|
the flashbacks|the crowd scenes|the transitions [pace -] sluggish|choppy|slack|plodding|erratic|
laboured|disjointed|listless|ponderous [pace +] brisk|taut|nimble|energetic|fluid|purposeful|crisp|
sure-footed|well judged|dynamic [heart singular] the romance|the central friendship|the
father-daughter bond|the love story|the reunion [heart plural] the family scenes|the quarrels|the
farewells|the quiet moments|the wedding scenes [heart -] forced|phoney|cold|mawkish|awkward|hollow|
manipulative|glib [heart +] tender|touching|heartfelt|warm|sincere|affecting|truthful|poignant|
persuasive
[gadj -] awful|dreadful|terrible|clumsy|sloppy|amateurish|forgettable|uninspired|weak|shoddy|dismal|
bland|careless|ham-fisted|stale|hackneyed|mediocre|unimaginative|half-baked|lacklustre|inept|
generic|insipid|abysmal|atrocious|second-rate|grating|feeble|embarrassing|charmless|tiresome|
horrible|woeful|hopeless [gadj +] superb|excellent|wonderful|marvellous|terrific|first-rate|
outstanding|delightful|splendid|impressive|remarkable|brilliant|exquisite|inspired|masterly|
magnificent|flawless|striking|exceptional|glorious|irresistible|fresh|imaginative|elegant|
distinctive|fantastic|polished|vivid|captivating|faultless [adj -] boring*|tedious*|predictable*|
pretentious*|irritating*|clumsy*|incoherent*|shallow*|tiresome*|idiotic*|forgettable*|contrived*|
exhausting*|embarrassing*|derivative*|annoying*|depressing*|ridiculous*|pointless|preachy|joyless|
humourless|soulless|messy|overlong|bloated|formulaic|cynical|cringeworthy|dreary|self-important|
smug|witless|brainless|meandering|unwatchable|laughable|dull|lazy|silly|confused [adj +] gripping*|
moving*|inventive*|engaging*|charming*|satisfying*|memorable*|imaginative*|exciting*|enjoyable*|
touching*|convincing*|entertaining*|thoughtful*|absorbing*|original*|rewarding*|interesting*|
hilarious|smart|riveting|thrilling|heart-warming|uplifting|spellbinding|haunting|enthralling|
suspenseful|big-hearted|humane|wise|playful|joyous|exhilarating|refreshing|beautiful|rich|funny|
perceptive|bold|unforgettable
[noun -] padding|noise|bombast|clichés|self-pity|smugness|clutter|plot holes|posturing|false notes|
loose ends|laziness|bad jokes|confusion [noun +] charm|wit|warmth|energy|imagination|suspense|heart|
courage|grace|conviction|style|tenderness|humour|intelligence|invention|sparkle|insight|honesty
[madj -] dull|false|wasted|lazy|clumsy|forced|weak|tedious|careless|pointless|silly [madj +] funny|
honest|believable|original|exciting|tender|surprising|memorable|lively|clever|moving [vp -] runs out
of ideas early|goes nowhere slowly|insults the viewer's intelligence|squanders a talented cast|
mistakes volume for excitement|never comes to life|tests your patience|talks endlessly and says
nothing|falls apart under its own weight|leaves a sour taste|repeats one gag until it dies|fails at
every turn|feels twice as long as it is|throws away its one good idea|confuses misery with depth|
sinks without a ripple|rings false throughout|deserves to be forgotten|lurches from one dead scene
to the next [vp +] keeps you guessing until the end|finds poetry in ordinary lives|earns its tears|
never puts a foot wrong|gets better with every scene|rewards your full attention|lingers in the mind
for days|bursts with life|gives its characters room to breathe|brims with small wonders|leaves you
wanting more|speaks to the heart|turns a simple idea into magic|flies by|surprises you again and
again|sends you home happy|casts a lasting spell|reminds you why we love cinema|offers one delight
after another|grips like a vice [did -] checked my watch again and again|nearly walked out|dozed off
twice|wished I had stayed at home|wanted my money back|counted the minutes|was glad when it was
over|yawned through most of it|regretted buying a ticket|groaned out loud|left in a bad mood|hated
it [did +] left the cinema grinning|forgot the time|wanted to see it again at once|enjoyed every
minute|was moved to tears|laughed until my sides hurt|cheered at the end|could not look away|loved
it|was completely won over|came out walking on air|fell in love with it [dvp -] has nothing to say|
smothers every emotion|shows no feeling for rhythm|botches the big scenes|has lost all sense of fun|
cannot tell a story|drowns the drama in gimmicks|plays it far too safe [dvp +] handles every scene
with a sure hand|has a wonderful eye for faces|trusts silence|gets the best out of the cast|knows
what to leave out|takes risks that pay off|works with flair [np -] a waste of an evening|a chore|a
dud|a bore|a muddle|a disaster|a failure|an ordeal|a shambles|a wasted opportunity|a slog|a dead
loss [np +] a treat|a pleasure|a gem|a joy|a masterpiece|a success|a wonder|a winner|a revelation|a
feast for the eyes|a breath of fresh air|a small marvel|a real find|a must [feeling -] cold|annoyed|
numb|yawning|unmoved|weary|baffled and bored [feeling +] smiling|in awe|elated|hungry for more|
breathless|deeply moved [todo -] stay away|choose something else|switch off|ask for a refund
[todo +] buy a ticket|watch it twice|make the trip|tell your friends [advice -] save your money|
avoid it|do not bother|leave it on the shelf|stay at home instead|skip this one [advice +] do not
miss it|take the whole family|treat yourself|catch it while you can|bring a friend|see it soon
[base -] look at my watch|think of leaving|feel bored|lose interest|roll my eyes|reach for my phone|
yawn [base +] laugh|smile|care about anyone in it|feel involved|lean forward|feel a shiver|believe
what I saw [mild -] a little disappointing|below average|hard to recommend|a near miss|easy to
forget|rather thin|more bad than good|too slight to matter|a bit of a let-down|a missed opportunity
[mild +] worth a look|better than average|good company for an evening|a pleasant surprise|easy to
like|more good than bad|good fun for a wet Sunday|quite likeable [down -] a little|a bit|somewhat|
slightly|a touch [down +] rather|quite|quietly|pretty|really rather [saying -] is a turkey|is dead
in the water|misses the boat|is a damp squib|scrapes the bottom of the barrel|flogs a dead horse|is
not up to scratch|goes off the rails|loses the plot [saying +] hits the bullseye|is worth its weight
in gold|packs a punch|is the cat's whiskers|is second to none|pulls out all the stops|hits the spot|
strikes gold|wins hands down [like -] a traffic jam|a bus timetable|a tax form|a leaking tap|cold
porridge|a blank wall|wet cardboard [like +] the first day of the holidays|a letter from an old
friend|a warm fire in winter|a walk by the sea|fresh bread|a surprise party [cry -] No, thanks|Never
again|What a bore|Total rubbish|Deadly stuff|Sheer tedium|Two lost hours|Nothing works
[cry +] Bravo|What a treat|Sheer bliss|Encore, please|Pure gold|What a ride|Worth every penny|
Everything works [ironic -] the highlight of this {genre} was the walk home|this {genre} is ideal
for anyone who collects clichés|finally, a/an {genre} that makes ironing look like an adventure|what
a bold idea, to make a/an {genre} without a plot|the exit signs were beautifully lit
[ironic +] warning: this {genre} may cause happy tears in public|curse this {genre}, I missed my
stop smiling|bad news for my {friend}: I now talk of nothing but this wonderful {genre}|the only
thing wrong with this {genre} is that it has to stop
[topics] acting|writing|sound|visual|pace|heart [adv] utterly|truly|thoroughly|completely|
absolutely|genuinely|really|simply|wholly [genre] thriller|comedy|drama|western|musical|documentary|
heist film|ghost story|courtroom drama|spy film|war film|fantasy|road movie|costume drama|detective
story|biopic|horror film|satire|crime film|adventure|cartoon|family film|science-fiction film|farce|
coming-of-age story|monster movie [premise] two sisters who inherit a lighthouse|a retired
detective|a village without electricity|a boy and his grandfather|a baker who enters politics|three
lost soldiers|a lonely robot|a choir that cannot sing|a stolen violin|a nurse on the night shift|a
family of beekeepers|the last cinema in town|a teacher and her worst pupil|a wedding in a storm|a
forger with a conscience|twins raised apart|a shy dancer [setting] in a fishing village|on a night
train|in a mountain hotel|in wartime|at sea|in a boarding school|on a dying planet|in a desert town|
during a heatwave|in an old theatre|behind convent walls [friend] sister|neighbour|brother|flatmate|
mother|uncle|daughter|grandfather|cousin [when] on a rainy Tuesday|on the opening night|at a
festival|last weekend [dark] bleak|brutal|grim|harrowing|sad|disturbing|violent|dark|savage|
merciless|sombre|painful [light] sunny|sweet|glossy|pretty|glamorous|colourful|expensive|
star-studded|well-meaning|ambitious|cheerful|good-looking|lavish|stylish [asset] money|stars|
spectacle|scale|publicity|gloss|technology|famous names|dazzle [weak] competent|adequate|passable|
serviceable|tolerable|routine
[plain *] {clause}.|{clause}, {clause} and the film as a whole is {adj}.|{asp} {be} {adv} {aadj}
from beginning to end.|a/an {adj}, {adj} {genre} that {vp}.|this {genre} about {premise} {vp}.|I
{did}, and my {friend} felt the same.|{asp} alone {be} reason enough to {todo}.|it {vp} and {vp}.|it
left me {feeling}, and {clause}.|{clause}; {advice}.|{advice}: this {genre} {vp}.|full of {noun} and
{noun}, it {vp}.|I {did}; {asp} {was} {adv} {aadj}.|it is {np}, and I {did}.|my {friend} called it
{adj}, and I agree.|two hours of {noun}, {noun} and {noun}.|set {setting}, this {genre} {vp}.|I saw
this {genre} {when} and {did}. [negation *] {asp} {be} anything but {!aadj}.|{asp} {be} never
{!aadj}, and the film {vp}.|{asp} {be} far from {!aadj}.|{asp} {benot} {!aadj} in the least.|there
is not one {!madj} scene in this {genre}.|no one could call {asp} {!aadj}.|I kept waiting for it to
become {!cadj}, and it never did.|do not believe anyone who calls this {genre} {!cadj}.|it is not
{!cadj} and it is not {!cadj}; it is {adj}.|not once did I {!base}.|you will find no {!noun} in this
{genre}, only {noun} and {noun}.|it would be a lie to say that {asp} {was} not {aadj}.|you cannot
claim that this {genre} is not {adj}.|without {!noun} and without {!noun}, this {genre} {vp}.
[negation -] never more than {weak}, this {genre} {vp}.|I have nothing good to say about {asp} or
{asp2}.|not even {asp} can save this {genre}.|I see no reason to recommend this {genre} about
{premise}.|it could have been {!adj}, and it never is. [negation +] never less than {adj}, this
{genre} {vp}.|I have nothing bad to say about {asp} or {asp2}.|you will not regret a minute of this
{genre} set {setting}.|I see no reason to miss this {genre} about {premise}.|it is not at all
{!cadj}. [contrast *] {!clause}, but the film {vp}.|although {!clause}, it is {np}.|{!clause} and
{!clause}, yet on the whole this {genre} is {adj}.|I expected something {!cadj} and got something
{adj}.|for all its {!noun}, this {genre} {vp}.|the critics found it {!cadj}, but I {did}.|this
{genre} is {adj}, even though {!clause}.|my {friend} thought it was {!cadj}; to me it was {np}.|the
trailer looked {!cadj}, but the film itself is {adj}.|after a/an {!cadj} start, the film {vp}.|
{!clause}; nevertheless, I {did}.|a/an {genre} about {premise} sounds {!cadj}, but this one {vp}.
[contrast -] a/an {light}, {light} {genre} that {vp}.|it has {asset} and {asset}, but no {!noun}.|
{!clause}, but that is the only kind thing I can say about it.|I wanted to love it, but {clause} and
{clause}. [contrast +] a/an {dark}, {dark} {genre} that {vp}.|yes, it is {dark} and {dark}, but it
{vp}.|the subject is {dark}, yet the film is {adj}.|what it lacks in {asset} it makes up for in
{noun}.|{!clause}, but that is my only complaint.|I wanted to hate it, but it {vp}.
[comparison *] compared with most {genres}, this one is {adj}.|it is more {cadj} than any {genre} I
have seen this year.|twice as {cadj} as the average {genre} and half as {!cadj}.|this is a far more
{cadj} film than its trailer suggests.|this {genre} has all the appeal of {like}.|the first film was
{!cadj}; the sequel {vp}.|it makes other {genres} look {!cadj} by comparison.|it is less {!cadj}
than most {genres}, and {clause}. [comparison -] about as {!cadj} as {like}.|I would rather spend
the evening with {like} than sit through this {genre} again. [comparison +] it is as welcome as
{like}, and {clause}.|I would not swap this {genre} for {like}. [irony *] sure, call it {!cadj}, and
call the ocean dry while you are at it.|{ironic}. [irony -] congratulations to whoever decided that
a/an {genre} should be this {cadj}.|bravo, it takes real talent to be so {cadj} about {premise}.|
just what the world needed: one more {adj} {genre}.|of course {asp} {be} {!aadj}, and I am the queen
of the moon. [irony +] how dare a/an {genre} about {premise} be this {cadj}?|shame on this {genre}
for making its rivals look so {!cadj}.|I hoped for a good nap, but this selfish {genre} {vp}.
[idiom *] this {genre} {saying}.|the film {saying}, and {clause}.|{clause}, and the whole thing
{saying}.|although {!clause}, the film {saying}.|the director {dvp}, and the film {saying}.
[neutral-ish *] {asp} {be} {down} {aadj}, and the film is {mild}.|as {genres} go, this one is
{mild}.|on balance, this {genre} about {premise} is {mild}.|{asp} {be} {down} {aadj}; on balance it
is {mild}.|all in all, it's {mild}: {asp} {be} {down} {aadj}.|{mild}, mostly because {asp} {be}
{aadj}. [short *] {adv} {gadj}.|{adj} and {adj}.|{adj}, {adj}, {adj}.|{cry}.|so {cadj}!|a/an {adj}
{genre}. [long *] set {setting} and built around {premise}, this {genre} {vp}, and although
{!clause}, {clause}, {clause} and I {did}.|my {friend} and I saw it {when}, knowing only that it was
a/an {genre} about {premise}, and we agreed afterwards that {clause}, that {clause} and that the
film {vp}.|I had read that {!clause}, and my {friend} found the whole thing {!cadj}, but the longer
I watched, the clearer it became that this {genre} about {premise} {vp}.|it begins as a/an {genre}
about {premise}, slowly turns into something {cadj}, and when the lights went up I was left
{feeling}, because {clause} and the film {vp}.|what might have been a/an {!cadj} {genre} about
{premise} and set {setting} turns out, thanks to its {noun}, its {noun} and a director who {dvp}, to
be {np}.
"""


def parse(text: str) -> dict[str, list[str]]:
    """Turn "[name] word|word [name] ..." into lists, and add "cadj" and each label's frames."""
    parts = re.split(r"\[([^\]]+)\]", " ".join(text.split()))
    lists = {parts[i]: re.split(r" ?\| ?", parts[i + 1].strip()) for i in range(1, len(parts), 2)}
    for sign in "-+":
        lists[f"cadj {sign}"] = [word[:-1] for word in lists[f"adj {sign}"] if word[-1] == "*"]
        lists[f"adj {sign}"] = [word.rstrip("*") for word in lists[f"adj {sign}"]]
        for kind in set(COUNTS) - {"misspelt"}:
            lists[f"{kind} {sign}"] = lists[f"{kind} *"] + lists.get(f"{kind} {sign}", [])
    return lists


def make_dealer(lists: dict[str, list[str]], rng: random.Random) -> Callable[..., str]:
    """Return deal(list name, words used so far), which deals each list like a deck of cards."""
    decks: dict[str, list[str]] = {name: [] for name in lists}

    def deal(name: str, used: set[str]) -> str:
        deck = decks[name]
        if used.issuperset(deck):
            deck[:] = rng.sample(lists[name], len(lists[name]))
        word = next((word for word in deck if word not in used), deck[0])
        deck.remove(word)
        used.add(word)
        return word

    return deal


def fill(frame: str, label: int, deal: Callable[..., str], rng: random.Random) -> str:
    """Fill a frame's slots; {asp}, {be}, {aadj} and their like share one topic."""
    used: set[str] = set()

    def topic() -> tuple[str, str, int]:
        name, plural = deal("topics", used), int(rng.random() < 0.4)
        return name, deal(f"{name} {'plural' if plural else 'singular'}", used), plural

    def value(match: re.Match[str]) -> str:
        slot, sign = match[2], "-+"[label ^ bool(match[1])]
        name, noun, plural = topic() if slot in ("clause", "asp2") else own
        if slot in ("asp", "asp2") or slot in VERBS:
            return VERBS[slot].split()[plural] if slot in VERBS else noun
        if slot in ("clause", "aadj"):
            general = rng.random() < 0.35 and match[0] != "{!aadj}" and "{down}" not in frame
            adjective = deal(f"{'gadj' if general else name} {sign}", used)
            adverb = deal("adv", used) + " " if rng.random() < 0.2 else ""
            lead = "" if slot == "aadj" else f"{noun} {VERBS['be'].split()[plural]} {adverb}"
            return lead + adjective
        if slot == "genres":
            return re.sub("ys$", "ies", deal("genre", used) + "s")
        return deal(slot if f"[{slot}]" in WORDS else f"{slot} {sign}", used)

    own = topic()
    while "{" in frame:
        frame = re.sub(r"\{(!?)(\w+)\}", value, frame)
    frame = re.sub("a/an (?=[aeiou]|hon)", "an ", frame).replace("a/an ", "a ")
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match[0].upper(), frame)


def misspell(text: str, rng: random.Random) -> str:
    """Misspell two long words and drop capitals and the full stop."""
    words = text.lower().rstrip(".").split()
    long = [i for i, word in enumerate(words) if re.fullmatch("[a-z]{6,}[,;]?", word)]
    for i in rng.sample(long, min(2, len(long))):
        a, b, c, rest = words[i][:2], words[i][2], words[i][3], words[i][4:]
        words[i] = rng.choice([a + c + b + rest, a + c + rest, a + b + b + c + rest])
    return " ".join(words)


def generate(taken: set[str]) -> list[dict[str, str | int]]:
    """Return the train examples in random order, without duplicates and without those in `taken` (lower-case)."""
    rng = random.Random(SEED)
    deal = make_dealer(parse(WORDS), rng)
    examples: list[dict[str, str | int]] = []
    for kind, label in [(kind, label) for kind in COUNTS for label in (0, 1)]:
        wanted = len(examples) + COUNTS[kind] // 2
        while len(examples) < wanted:
            base = rng.choice(["plain", "negation", "contrast"]) if kind == "misspelt" else kind
            text = fill(deal(f"{base} {'-+'[label]}", set()), label, deal, rng)
            text = misspell(text, rng) if kind == "misspelt" else text
            if text.lower() not in taken:
                taken.add(text.lower())
                examples.append({"sentence": text, "label": label, "split": "train", "kind": kind})
    rng.shuffle(examples)
    return examples


def main() -> None:
    """Rewrite the train part of the file, or check it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    check, old = parser.parse_args().check, PATH.read_text(encoding="utf-8")
    look = [line for line in old.splitlines() if json.loads(line)["split"] == "look"]
    train = generate({json.loads(line)["sentence"].lower() for line in look})
    new = "\n".join(look + [json.dumps(item, ensure_ascii=False) for item in train]) + "\n"
    if not check:
        PATH.write_text(new, encoding="utf-8", newline="\n")
    elif new != old:
        sys.exit(f"{PATH} is out of date: run python -m scripts.make_training_examples")


if __name__ == "__main__":
    main()
