"""A small grammar of Mandarin sentences, written for the miniatures: some 280 words with their pinyin.

Many of its characters sound alike, and only their neighbours tell which is meant: 他, 她 and 它, 在 and 再, 的, 地 and
得 each have their places in a sentence, and 事, 是, 市, 室, 世, 视 and 式 their words. Others are read in two ways, as
the words around them say: 银行 and 旅行, 音乐 and 快乐. espeak-ng reads all words as their pinyin has it; what it
misreads (便宜, 熊猫) is not in the lists, nor in the first of them what it joins with a neighbour (了清 in 取得了清楚).
"""

import re
from collections.abc import Iterator

import numpy as np

# Each rule lists words as `characters/pinyin`, tones as digits (5 is the neutral tone).
_WORDS: dict[str, str] = {
    "PERSON": (
        "我/wo3 你/ni3 我们/wo3men5 他们/ta1men5 老师/lao3shi1 学生/xue2sheng1 医生/yi1sheng1 同事/tong2shi4 "
        "校长/xiao4zhang3 大夫/dai4fu5 大家/da4jia1 会计/kuai4ji4 工人/gong1ren2 记者/ji4zhe3 朋友/peng2you3 "
        "客人/ke4ren2 司机/si1ji1 孩子/hai2zi5 邻居/lin2ju1 农民/nong2min2 警察/jing3cha2 弟弟/di4di5 市长/shi4zhang3 "
        "经理/jing1li3 演员/yan3yuan2 总统/zong3tong3"
    ),
    "MAN": "叔叔/shu1shu5 爸爸/ba4ba5 哥哥/ge1ge5 爷爷/ye2ye5",
    "WOMAN": "妈妈/ma1ma5 姐姐/jie3jie5 奶奶/nai3nai5 妹妹/mei4mei5",
    "ANIMAL": "小猫/xiao3mao1 小狗/xiao3gou3 公鸡/gong1ji1",
    "ADJ": (
        "漂亮/piao4liang5 重要/zhong4yao4 方便/fang1bian4 舒服/shu1fu5 有趣/you3qu4 正式/zheng4shi4 "
        "著名/zhu4ming2 新鲜/xin1xian1 奇怪/qi2guai4 安静/an1jing4 绿色/lv4se4 蓝色/lan2se4 年轻/nian2qing1 "
        "友好/you3hao3 简单/jian3dan1 巨大/ju4da4 普通/pu3tong1 美丽/mei3li4 特别/te4bie2 干净/gan1jing4 "
        "古老/gu3lao3 红色/hong2se4 黑色/hei1se4 白色/bai2se4"
    ),
    "NOUN": (
        "电影/dian4ying3 电视/dian4shi4 音乐/yin1yue4 汽车/qi4che1 书包/shu1bao1 蔬菜/shu1cai4 篮球/lan2qiu2 "
        "头发/tou2fa5 世界/shi4jie4 目的/mu4di4 计划/ji4hua4 地图/di4tu2 文件/wen2jian4 爱好/ai4hao4 图画/tu2hua4 "
        "苹果/ping2guo3 报纸/bao4zhi3 照片/zhao4pian4 飞机/fei1ji1 火车/huo3che1 房子/fang2zi5 衣服/yi1fu5 "
        "桌子/zhuo1zi5 椅子/yi3zi5 电话/dian4hua4 手机/shou3ji1 电脑/dian4nao3 茶叶/cha2ye4 牛奶/niu2nai3 "
        "面包/mian4bao1 米饭/mi3fan4 水果/shui3guo3 鸡蛋/ji1dan4 礼物/li3wu4 问题/wen4ti2 消息/xiao1xi5 故事/gu4shi5 "
        "报告/bao4gao4 文章/wen2zhang1 小说/xiao3shuo1 雨伞/yu3san3 眼镜/yan3jing4 帽子/mao4zi5 鞋子/xie2zi5 "
        "花园/hua1yuan2 产品/chan3pin3 合同/he2tong5 价格/jia4ge2 森林/sen1lin2 云彩/yun2cai5 歌曲/ge1qu3 "
        "政策/zheng4ce4 裙子/qun2zi5 窗户/chuang1hu5 时代/shi2dai4 原因/yuan2yin1 历史/li4shi3"
    ),
    "VERB": (
        "看见/kan4jian4 喜欢/xi3huan5 发现/fa1xian4 了解/liao3jie3 取得/qu3de2 期待/qi1dai4 归还/gui1huan2 "
        "忘记/wang4ji4 研究/yan2jiu1 重复/chong2fu4 调查/diao4cha2 认识/ren4shi5 介绍/jie4shao4 选择/xuan3ze2 "
        "翻译/fan1yi4 需要/xu1yao4 讨论/tao3lun4 准备/zhun3bei4 使用/shi3yong4 检查/jian3cha2 购买/gou4mai3 "
        "学习/xue2xi2 接受/jie1shou4 关注/guan1zhu4 公布/gong1bu4 取消/qu3xiao1 增加/zeng1jia1 提高/ti2gao1 "
        "降低/jiang4di1 发觉/fa1jue2"
    ),
    "ACT": (
        "工作/gong1zuo4 做饭/zuo4fan4 坐车/zuo4che1 睡觉/shui4jiao4 休息/xiu1xi5 旅行/lv3xing2 听课/ting1ke4 "
        "开会/kai1hui4 画画/hua4hua4 说话/shuo1hua4 拍照/pai1zhao4 游泳/you2yong3 教书/jiao1shu1 唱歌/chang4ge1 "
        "跳舞/tiao4wu3 跑步/pao3bu4 吃饭/chi1fan4 聊天/liao2tian1 散步/san4bu4 考试/kao3shi4"
    ),
    "AUX": (
        "想/xiang3 会/hui4 要/yao4 可以/ke3yi3 应该/ying1gai1 愿意/yuan4yi4 已经/yi3jing1 正在/zheng4zai4 还/hai2 "
        "也/ye3 能/neng2 必须/bi4xu1 经常/jing1chang2 不/bu4"
    ),
    "MANNER": "高兴/gao1xing4 认真/ren4zhen1 热情/re4qing2 快乐/kuai4le4",
    "SKILL": "跑/pao3 唱/chang4 做/zuo4 说/shuo1",
    "HOW": "好/hao3 快/kuai4 慢/man4",
    "TIME": (
        "今天/jin1tian1 明天/ming2tian1 昨天/zuo2tian1 早上/zao3shang5 下午/xia4wu3 去年/qu4nian2 今年/jin1nian2 "
        "周末/zhou1mo4 春天/chun1tian1 平时/ping2shi2 最近/zui4jin4 目前/mu4qian2 六月/liu4yue4 星期天/xing1qi1tian1 "
        "假期/jia4qi1 晚上/wan3shang5 上午/shang4wu3 夏天/xia4tian1 秋天/qiu1tian1 冬天/dong1tian1 后来/hou4lai2 "
        "八月/ba1yue4"
    ),
    "PLACE": (
        "学校/xue2xiao4 医院/yi1yuan4 公园/gong1yuan2 公司/gong1si1 银行/yin2hang2 城市/cheng2shi4 都市/du1shi4 "
        "长城/chang2cheng2 教室/jiao4shi4 图书馆/tu2shu1guan3 北京/bei3jing1 中国/zhong1guo2 食堂/shi2tang2 "
        "饭店/fan4dian4 海边/hai3bian1 机场/ji1chang3 车站/che1zhan4 商店/shang1dian4 上海/shang4hai3 广州/guang3zhou1 "
        "南京/nan2jing1 农村/nong2cun1 办公室/ban4gong1shi4 厨房/chu2fang2 山上/shan1shang5 家里/jia1li5 日本/ri4ben3 "
        "美国/mei3guo2 市场/shi4chang3 长江/chang2jiang1"
    ),
    "COUNT": (
        "这个/zhe4ge5 那个/na4ge5 一个/yi2ge5 两个/liang3ge5 三个/san1ge5 十个/shi2ge5 许多/xu3duo1 一些/yi4xie1 "
        "五个/wu3ge5"
    ),
    "OTHER": (
        "在/zai4 再/zai4 和/he2 的/de5 地/de5 得/de5 了/le5 从/cong2 到/dao4 对/dui4 去/qu4 来/lai2 很/hen3 "
        "没有/mei2you3 都/dou1 是/shi4 他/ta1 她/ta1 它/ta1 觉得/jue2de5 以后/yi3hou4"
    ),
}
# Capital words stand for any word of that list, THING for one of the choices below, others for themselves.
_SENTENCES = (
    "TIME PERSON 在 PLACE ACT",
    "PERSON AUX VERB THING",
    "PERSON 在 PLACE VERB 了 THING",
    "TIME PERSON 去 PLACE ACT",
    "PERSON 和 PERSON AUX 在 PLACE ACT",
    "PLACE 的 NOUN 很 ADJ",
    "TIME PERSON 从 PLACE 来 到 PLACE",
    "PERSON 对 PERSON 说 TIME 要 VERB THING",
    "PERSON VERB 了 COUNT ADJ 的 NOUN",
    "TIME PLACE 没有 THING",
    "PERSON 和 PERSON 都 VERB THING",
    "MAN 说 他 AUX VERB THING",
    "WOMAN 说 她 AUX VERB THING",
    "MAN 觉得 他 的 NOUN 很 ADJ",
    "WOMAN 觉得 她 的 NOUN 很 ADJ",
    "ANIMAL 在 PLACE 它 AUX ACT",
    "PERSON MANNER 地 VERB THING",
    "TIME PERSON MANNER 地 ACT",
    "TIME PERSON SKILL 得 很 HOW",
    "PERSON SKILL 得 不 HOW",
    "PERSON ACT 以后 再 去 PLACE ACT",
    "PERSON 是 PLACE 的 PERSON",
)
_THINGS = ("NOUN", "COUNT NOUN", "ADJ 的 NOUN", "PERSON 的 NOUN", "COUNT ADJ 的 NOUN")

# The reading of each word: 中国 zhong1guo2.
PINYIN = {
    word: pinyin for words in _WORDS.values() for word, _, pinyin in (entry.partition("/") for entry in words.split())
}
_CHOICES = {name: [entry.partition("/")[0] for entry in words.split()] for name, words in _WORDS.items()}

_SYLLABLE = re.compile(r"([a-z]+)([1-5])")
_INITIALS = re.compile("[zcs]h|[bpmfdtnlgkhjqxrzcs]")
# Syllables without an initial take the vowel as one, doubled, and the final as it is said, not as pinyin writes it.
_WRITTEN_WITH_Y = {
    "i": "ii i", "in": "ii in", "ing": "ii ing", "ou": "ii iu", "u": "vv v", "ue": "vv ve", "uan": "vv van",
    "un": "vv vn",
}  # fmt: skip
_WRITTEN_WITH_W = {"u": "uu u", "ei": "uu ui", "en": "uu un"}


def sentences(rng: np.random.Generator, choices: int | None = None) -> Iterator[list[str]]:
    """Yield sentences, lists of words, without end and none twice, so that any two slices are disjoint.

    `choices` limits each list to its first words, for miniatures too small to show a model all characters often.
    """
    seen = set()
    while True:
        pattern = str(rng.choice(_SENTENCES)).replace("THING", str(rng.choice(_THINGS)))
        words = [str(rng.choice(_CHOICES[item][:choices])) if item in _CHOICES else item for item in pattern.split()]
        if tuple(words) not in seen:
            seen.add(tuple(words))
            yield words


def lexicon() -> dict[str, list[str]]:
    """Initials, and finals with their tones, of every word that the grammar can produce: `中国`: zh ong1 g uo2."""
    return {word: initials_and_finals(pinyin) for word, pinyin in sorted(PINYIN.items())}


def initials_and_finals(pinyin: str) -> list[str]:
    """`zhong1guo2` as zh ong1 g uo2, as AISHELL-1's lexicon spells it; ü is v."""
    return [phone for syllable, tone in _SYLLABLE.findall(pinyin) for phone in _split(syllable, tone)]


def _split(syllable: str, tone: str) -> tuple[str, str]:
    found = _INITIALS.match(syllable)
    initial = found[0] if found else ""
    final = syllable[len(initial) :]
    if not initial:
        initial, final = _without_initial(syllable)
    elif final == "i" and initial in ("zh", "ch", "sh", "r"):
        final = "ix"
    elif final == "i" and initial in ("z", "c", "s"):
        final = "iy"
    elif initial in ("j", "q", "x") and final.startswith("u"):
        final = "v" + final[1:]
    return initial, final + tone


def _without_initial(syllable: str) -> tuple[str, str]:
    first, rest = syllable[0], syllable[1:]
    if first == "y":
        initial, final = _WRITTEN_WITH_Y.get(rest, f"ii i{rest}").split()
    elif first == "w":
        initial, final = _WRITTEN_WITH_W.get(rest, f"uu u{rest}").split()
    else:
        initial, final = first * 2, syllable
    return initial, final
