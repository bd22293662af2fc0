"""Words of shopping in English and Chinese that a catalogue may or may not have; only what it has is understood.

A concept is a tuple of names for one thing, in both languages. Which of them mean products is for the catalogue to say.
"""

from __future__ import annotations

CONCEPTS: tuple[str, ...] = (
    "phone|smartphone|mobile phone|cell phone|cellphone|手机|智能手机", "laptop|notebook computer|笔记本电脑|笔记本",
    "computer|电脑", "tablet|平板|平板电脑", "headphone|earphone|headset|耳机", "television|tv|电视", "camera|相机",
    "watch|手表", "charger|充电器", "pizza|披萨|比萨", "milk|牛奶", "yogurt|yoghurt|酸奶", "cheese|奶酪|芝士",
    "butter|黄油", "egg|鸡蛋", "bread|面包", "rice|大米|米饭", "noodle|面条", "pasta|意大利面", "flour|面粉",
    "sugar|糖", "salt|盐", "oil|食用油", "coffee|咖啡", "tea|茶|茶叶", "juice|果汁", "orange juice|橙汁",
    "apple juice|苹果汁", "water|水|矿泉水", "soft drink|soda|pop|汽水|软饮料|饮料", "beer|啤酒", "wine|葡萄酒|红酒",
    "chocolate|巧克力", "candy|糖果", "cookie|biscuit|饼干", "cracker|苏打饼干", "cake|蛋糕", "ice cream|冰淇淋|雪糕",
    "snack|零食", "potato chip|crisp|薯片", "cereal|麦片", "soup|汤", "sauce|酱", "fruit|水果", "vegetable|蔬菜",
    "apple|苹果", "banana|香蕉", "orange|橙子", "grape|葡萄", "strawberry|草莓", "tomato|番茄|西红柿", "potato|土豆",
    "onion|洋葱", "carrot|胡萝卜", "mushroom|蘑菇", "lettuce|生菜", "meat|肉", "beef|牛肉", "pork|猪肉",
    "chicken|鸡肉", "turkey|火鸡", "fish|鱼", "shrimp|虾", "sausage|香肠", "ham|火腿", "bacon|培根", "nut|坚果",
    "peanut|花生", "honey|蜂蜜", "dog food|狗粮", "cat food|猫粮", "dog treat|狗零食", "cat litter|猫砂",
    "diaper|nappy|尿布|纸尿裤", "baby food|婴儿食品|辅食", "infant formula|baby formula|婴儿奶粉|奶粉",
    "toilet paper|toilet tissue|bath tissue|卫生纸", "paper towel|厨房纸", "facial tissue|纸巾", "shampoo|洗发水",
    "conditioner|护发素", "soap|肥皂|香皂", "toothpaste|牙膏", "toothbrush|牙刷", "deodorant|止汗剂",
    "laundry detergent|洗衣液|洗衣粉", "dish detergent|dishwashing liquid|洗洁精", "battery|电池", "light bulb|灯泡",
    "magazine|杂志", "vitamin|维生素", "shoe|鞋|鞋子", "shirt|衬衫", "toy|玩具", "wallet|钱包", "bag|包包",
    "cup|杯子|水杯", "salad|沙拉", "sandwich|三明治", "burger|hamburger|汉堡", "jam|jelly|果酱", "vinegar|醋",
)  # fmt: skip
"""Things; names are parted by ``|``."""

MODIFIERS: tuple[str, ...] = (
    "frozen|冷冻|速冻", "organic|有机", "fresh|新鲜", "gluten free|无麸质", "sugar free|no sugar|无糖",
    "fat free|nonfat|脱脂", "low fat|reduced fat|低脂", "lactose free|无乳糖", "dairy free", "nut free",
    "low sodium|reduced sodium|低钠", "low calorie|低卡", "low carb", "whole wheat|全麦", "whole grain|全谷物",
    "decaf|decaffeinated|低因|无咖啡因", "caffeine free", "unsalted|no salt|无盐", "salted", "unsweetened|无甜味",
    "vegan|纯素", "vegetarian|素食", "kosher|犹太洁食", "halal|清真", "diet|健怡", "natural|天然", "spicy|辣",
    "canned|罐装", "bottled|瓶装", "smoked|烟熏", "boneless|去骨", "skinless|去皮", "seedless|无籽", "shredded|碎",
    "sliced|切片", "ground|绞", "instant|速溶|方便", "refrigerated|冷藏", "dried|dry|干", "white|白色", "black|黑色",
    "red|红色", "blue|蓝色", "green|绿色", "yellow|黄色", "pink|粉色", "silver|银色", "gold|金色", "wireless|无线",
    "waterproof|防水", "dual sim|双卡", "disposable|一次性", "scented|香味", "unscented|fragrance free|无香",
    "microwave|微波", "cold|冷", "hot|热",
)  # fmt: skip
"""Properties; a product has one where its text says so."""

AUDIENCES: tuple[str, ...] = (
    "dog|puppy|狗|狗狗|小狗", "cat|kitten|猫|猫咪|小猫", "baby|infant|婴儿|宝宝", "kid|child|children|儿童|孩子|小孩",
    "bird|鸟", "man|men|男士|男人|男", "woman|women|ladies|女士|女人|女", "adult|成人", "senior|老人|老年人",
    "pet|宠物", "toddler|幼儿",
)  # fmt: skip
"""For whom something is."""

OWN_BRAND = (
    "private label",
    "store brand",
    "own brand",
    "own label",
    "house brand",
    "generic",
    "自有品牌",
)
"""Other names of the brand ``Private``, by which shops call their own."""

_FILLERS = """
    a an the i me my we us you your he she it its this that these those is are was be am do does did have has had
    want wants wanted need needs would like to buy get getting find finding show give looking look for search
    searching some any please can could of in on at by with and or as so just really very too much many something
    anything thing stuff one ones item items product products good best nice great kind kinds type sort price prices
    priced pricing cost costs dollar buck hello hi hey thanks thank help shop shopping purchase order let ll ve im s
    t d m re there which what where how who when will about more most less than from into if not but all also only
    maybe suggest recommend recommendation option options cheap budget instead then now here quality under over
    between sell sells got size sizes
"""
FILLERS: frozenset[str] = frozenset(_FILLERS.split())
"""Words that say nothing of products."""

CHINESE_FILLERS: tuple[str, ...] = (
    "我想买", "我想要", "我要买", "我需要", "我要", "我想", "想买", "想要", "购买", "买", "给我", "帮我", "请", "找",
    "看看", "看", "有没有", "有什么", "有", "推荐", "来", "一款", "一个", "一些", "一台", "一部", "一瓶", "一包",
    "一盒", "一袋", "一点", "款", "的", "了", "吗", "呢", "吧", "啊", "我", "你", "您", "点", "些", "个", "那种",
    "这种", "什么", "最好", "价格", "价钱", "好", "比较", "很", "最", "更", "又", "和", "或", "或者", "跟", "要",
    "想", "适合", "用", "是", "在", "卖", "产品", "商品", "东西", "那个", "这个",
    "换成", "改成", "换", "还是", "不如", "再", "只", "就", "也",
)  # fmt: skip

NEGATORS = (
    "without", "not", "no", "except", "excluding", "exclude", "minus", "non", "don't want", "do not want",
    "nothing with", "free of", "avoid", "other than", "不要", "不含", "没有", "无", "除了", "不是", "别要", "不想要",
    "非",
)  # fmt: skip
"""What follows one of these is not wanted."""

JOINERS = frozenset(
    (
        "or",
        "and",
        "nor",
        "any",
        "a",
        "an",
        "the",
        "或",
        "和",
        "with",
        "added",
        "in",
        "it",
        "them",
    )
)
"""May stand between a negator and what it is about, and between what is negated together."""

EMPTY = FILLERS | JOINERS | frozenset(NEGATORS)
"""No name starts or ends with one of these."""

TURNING = frozenset(
    (
        "but",
        "just",
        "only",
        "for",
        "under",
        "over",
        "please",
        "with",
        "instead",
        "但",
        "要",
        "的",
    )
)
"""End what a negator is about."""


def names(concepts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Each concept's names."""
    return [tuple(concept.split("|")) for concept in concepts]
