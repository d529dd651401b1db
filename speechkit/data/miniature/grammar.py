"""A small grammar of English sentences, written for the miniatures: some 500 words that hold every English sound."""

import re
from collections.abc import Iterator

import numpy as np

# The two sentences that every speaker of a miniature TIMIT reads. Together they hold most sounds of English.
SHARED_SENTENCES = (
    "Joyce should bring the usual yellow thread from our garage at noon.",
    "Both boys heard a good joke about the measure of our cheap vision.",
)

# Each rule lists choices; `$X` in a choice stands for any choice of rule X.
_RULES: dict[str, str] = {
    "S": (
        "$NP $VT $NP . | $NP $VT $NP $PP . | $NP $VI $PP . | $NP $VI $ADV . | $PRO $AUX $VB $NP . | $TIME , $NP $VT "
        "$NP . | did $NP $VB $NP ? | there stood $NP $PP . | $NAME and $NAME $VI $PP . | please $VB $NP $WHEN . | "
        "$NP was $ADJ and $ADJ . | $NUM $NOUNS $VI $PP . | $NAME , $VB $NP . | why did $NAME $VB $NP ? | $NAME $VT "
        "$NUM $NOUNS ."
    ),
    "NP": "$DET $NOUN | $DET $NOUN | $DET $ADJ $NOUN | $NAME | $DET $NOUN of $NOUNS",
    "PP": "$PREP $DET $NOUN | $PREP $DET $ADJ $NOUN | $PREP $DET $PLACE | $PREP $DET $PLACE",
    "DET": "a | the | the | our | his | her | this | that | your | my",
    "PRO": "we | you | they | she | he | I",
    "AUX": "should | would | could | can | will | must | may | might",
    "PREP": "by | near | under | behind | with | from | beyond | beside | above | through | across | around | inside",
    "TIME": "yesterday | at noon | last week | in July | this evening | long ago | after lunch | one autumn day",
    "WHEN": "today | now | again | tonight | before noon | this week",
    "ADV": (
        "slowly | quietly | very well | with joy | at dawn | every Thursday | too fast | without a sound | as usual "
        "| together"
    ),
    "NUM": "two | three | four | five | six | seven | eight | nine | ten | twelve | many | few | both",
    "NAME": (
        "Joyce | Ruth | Henry | Anna | George | Chuck | Judy | Martha | Roy | Paul | Keith | Beth | Vera | Owen | "
        "Zoe | Thomas | Susan | Yuri | Doug | Shirley"
    ),
    "NOUN": (
        "boat | dog | farmer | garage | teacher | button | kitten | ladder | bottle | table | letter | picture | "
        "bridge | cage | cheese | chair | church | coin | cook | cowboy | cup | daughter | deer | doctor | door | "
        "engine | feather | finger | fire | fish | flower | fork | friend | garden | girl | glove | goat | hammer | "
        "hill | horse | house | jacket | jewel | joke | judge | jug | kettle | key | king | knife | lake | lamp | "
        "leaf | lemon | lion | machine | map | measure | mirror | monkey | moon | mouse | nurse | oil | onion | "
        "orange | owl | page | paper | pencil | piano | pigeon | poem | pool | potato | power | queen | rabbit | "
        "radio | river | road | rocket | roof | rope | sailor | salad | sausage | shadow | sheep | shirt | shoe | "
        "soup | spoon | statue | stone | storm | sugar | teapot | thief | thread | thumb | tiger | tower | toy | "
        "treasure | truck | uncle | valley | vase | village | violin | voice | wagon | watch | wheel | whistle | "
        "window | wolf | yard | zebra | zipper | television | vision | tooth | path | weather | mother"
    ),
    "NOUNS": (
        "boats | dogs | farmers | teachers | buttons | letters | pictures | bridges | cages | chairs | churches | "
        "coins | cups | feathers | fingers | flowers | gloves | hammers | horses | houses | judges | keys | lemons "
        "| oranges | owls | pages | pencils | pigeons | rabbits | roads | roofs | sheep | shirts | shoes | spoons | "
        "stones | toys | thieves | tigers | trucks | voices | watches | wheels | windows | wolves | brothers | "
        "months | books"
    ),
    "ADJ": (
        "big | little | old | new | wooden | yellow | blue | broken | bright | cheap | cheerful | clever | cold | "
        "curious | dark | dirty | dry | early | easy | empty | famous | foolish | funny | gentle | golden | good | "
        "green | happy | heavy | hungry | lazy | loud | lovely | lucky | narrow | noisy | northern | orange | "
        "pleasant | proud | purple | quick | quiet | rare | rough | round | royal | rusty | sharp | shiny | silver "
        "| smooth | soft | sour | square | strange | strong | thick | thin | tiny | unusual | useful | warm | weak "
        "| wet | whole | wild | young | pure | casual"
    ),
    "VT": (
        "found | painted | watched | bought | broke | brought | carried | caught | changed | chose | cleaned | "
        "covered | crushed | drew | enjoyed | followed | forgot | gave away | heard | hid | joined | judged | kept "
        "| lifted | lost | loved | measured | missed | moved | needed | noticed | opened | owned | pulled | pushed "
        "| reached | remembered | saved | shook | showed | sold | stole | threw | took | touched | treasured | used "
        "| visited | wanted | washed"
    ),
    "VI": (
        "waited | walked | worked | sang | slept | danced | laughed | jumped | fell | hid | lived | sat | shouted | "
        "smiled | stood | stopped | talked | turned | whispered | vanished | yawned | rejoiced | argued | breathed "
        "| looked"
    ),
    "VB": (
        "find | paint | watch | buy | break | bring | carry | catch | change | choose | clean | cover | draw | "
        "enjoy | follow | forget | give | hear | hide | join | judge | keep | lift | lose | love | measure | miss | "
        "move | notice | open | pull | push | reach | save | shake | show | sell | take | throw | touch | use | "
        "visit | want | wash"
    ),
    "PLACE": (
        "garden | harbour | kitchen | market | museum | office | orchard | palace | school | station | theatre | "
        "village | valley | woods | beach | castle | bathroom | bedroom | hall | airport | forest | northern road | "
        "square | mountain | ocean | courthouse"
    ),
}
_CHOICES = {name: [choice.split() for choice in rule.split("|")] for name, rule in _RULES.items()}
# espeak says these two words as one and tells no boundary between them.
_SPOKEN_AS_ONE = re.compile(r"\b(from|with) the\b")
_AN_BEFORE = re.compile(r"(?!use|usu|one)[aeiou]", re.IGNORECASE)


def sentences(rng: np.random.Generator, shortest: int = 4, longest: int = 9) -> Iterator[str]:
    """Yield sentences of `shortest` to `longest` words without end, none twice, so that any two slices are disjoint."""
    seen = set(SHARED_SENTENCES)
    while True:
        sentence = _written(_expand("S", rng))
        if sentence not in seen and not _SPOKEN_AS_ONE.search(sentence) and shortest <= len(words(sentence)) <= longest:
            seen.add(sentence)
            yield sentence


def words(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation."""
    return re.findall(r"[a-z']+", sentence.lower())


def vocabulary() -> list[str]:
    """All words the grammar can produce, sorted, in lower case."""
    items = {item for choices in _CHOICES.values() for choice in choices for item in choice if item[0].isalpha()}
    return sorted({word for text in (*items, *SHARED_SENTENCES, "an") for word in words(text)})


def _expand(symbol: str, rng: np.random.Generator) -> list[str]:
    choices = _CHOICES[symbol]
    result: list[str] = []
    for item in choices[int(rng.integers(len(choices)))]:
        result += _expand(item[1:], rng) if item.startswith("$") else [item]
    return result


def _written(items: list[str]) -> str:
    for index, item in enumerate(items[:-1]):
        if item == "a" and _AN_BEFORE.match(items[index + 1]):
            items[index] = "an"
    text = re.sub(r" (?=[,.?])", "", " ".join(items))
    return text[0].upper() + text[1:]
