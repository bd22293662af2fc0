"""What the intent head is trained on: ways to say each intent, in English and Chinese, with places for products.

``{p}`` and ``{q}`` are products, ``{c}`` a category, ``{b}`` a brand. One template a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

INTENTS = ("browse", "search", "compare", "deal", "similar", "complaint", "out_of_scope")
"""In the order of the head's outputs; the last is what a shop's search cannot answer."""
OUT_OF_SCOPE, SEARCH = "out_of_scope", "search"
LANGUAGES = ("en", "zh")

_EN = {
    "browse": """
show me all {c}|what {c} do you have|browse {c}|I want to look around in {c}|take me to the {c} aisle
what is new in {c}|list everything in {c}|explore {c}|go to {c}|let me see your {c} range
I'm just browsing|what do you sell|show me the categories|what's trending in {c}|popular {c}
most bought {c}|any ideas for {c}|recommend me some {c}|what kinds of {p} do you have|different types of {p}
the full selection of {c}|what can I find in {c}|see your assortment of {c}
surprise me with something from {c}
I don't know what I want yet|new products this month|what do people like in {c}|show me around|open {c}
what should I get for a birthday present|gifts for my father|what's good in {c}|what brands of {p} are there
ideas for lunch|something nice from {c}, no idea what|view the {c} department|which categories are there
what's hot right now|have a look at {c}|anything new|I would like to discover {c}|best selling {c}""",
    "search": """
{p}|{b} {p}|organic {p}|{p} 12 oz|cheap {p}|I want to buy {p}|I need {p}|find {p}|do you have {p}|buy {p}
where is the {p}|looking for {p}|large pack of {p}|fresh {p}|{p} without sugar|I want to buy a cheap {p}
search for {b} {p}|get me {p}|I'm looking for a good {p}|{p} for kids|{p} under 5 dollars|gluten free {p}
is there any {p}|sugar free {p} 500 g|do you carry {b} {p}|please find {p} for me|I would like some {p}
small {p}|{p} family size|add {p} to my basket|a pack of {p}|low fat {p}|{p} for sensitive skin
can I get {p} here
I ran out of {p}|need {p} for tonight|{p} and {q}|inexpensive {b} {p}|the best {p} you have
{p} in a big bottle
where do I find {p}|show me {b} {p}|I'd like a {p}, medium size|vegan {p}|{p} 2 liter|unscented {p}""",
    "compare": """
compare {p} and {q}|{p} vs {q}|{p} or {q}|which is better, {p} or {q}
what is the difference between {p} and {q}
is {b} {p} better than the store brand|which {p} is the best value|which one is cheaper, {p} or {q}
should I buy {p} or {q}|comparison of {p} brands|how does {p} compare with {q}
differences between these two {p}
which {p} has less sugar|is {p} healthier than {q}|which of the two {p} should I choose|pros and cons of {p}
is the expensive {p} worth it over the cheap one|{b} or another brand of {p}, which is better
{p} compared to {q}
which {p} has more protein, the large or the small|rate {p} against {q}|help me decide between {p} and {q}
is it better to take {p} instead of {q}|which {p} is stronger|contrast {p} with {q}|side by side {p} and {q}
which lasts longer, {p} or {q}|price per unit of {p} against {q}|who makes the better {p}, {b} or the others
how are these {p} different|does {p} work better than {q}|choose between {b} {p} and generic {p}
which size of {p} is more economical|what sets {b} {p} apart from other {p}
order these {p} from best to worst""",
    "deal": """
{p} on sale|discount on {p}|coupons for {p}|any offers on {c}|what is on sale this week|cheapest offers today
promo code|special offers in {c}|is {p} on promotion|buy one get one free {p}|clearance {c}|bargains in {c}
do you have a coupon for {b}|weekly deals|price drops on {p}|is there a discount on {b} {p}|half price {p}
which {c} are discounted|what deals do you have|show promotions for {p}|savings on {c}|flash sale
how do I save money on {p}|any rebate on {p}|when will {p} be on sale|member price for {p}|reduced {p}
vouchers for {c}|do I get money off if I buy three {p}|holiday sale {c}|today's specials|marked down {c}
use my coupon on {p}|discount codes for {c}|two for the price of one|limited time offers|20 percent off {p}
is {p} cheaper this week|end of season sale|loyalty discounts on {p}|what's in the weekly ad
offers ending soon""",
    "similar": """
similar to {b} {p}|something like {p}|alternatives to {p}|instead of {p}|substitute for {p}
products like {b} {p}
more like this|items similar to {p}|what can replace {p}|another {p} like this one|other brands like {b}
I liked {p}, what else would I like|same as {p} but cheaper|a replacement for {p}|find me things like this {p}
{p} is out of stock, what else is close|anything comparable to {b} {p}|related to {p}|a {p} like my last one
other {p} that taste like {b}|closest thing to {p}|vegan alternative to {p}|if I love {p} what should I try
what is a good {p} substitute|show similar {c}|the same kind of {p} from another brand|equivalent of {b} {p}
something in the style of {b}|I used to buy {b} {p}, what is similar|resembling {p}
dairy free option in place of {p}
got anything like {b} {p}|more of this sort|what goes instead of {p} in a recipe, to buy
another one along these lines
a cheaper version of {b} {p}|looks like this {p}|swap for {p}|a different {p} with the same flavour""",
    "complaint": """
the {p} was spoiled|my {p} arrived damaged|I want a refund for the {p}|the {p} is broken|my order is late
the {p} I bought is defective|you sent me the wrong {p}|{p} missing from my order|this {p} tastes awful
I am not satisfied with the {p}|the {p} leaked in the bag|I was charged twice|the {p} expired last month
worst {p} ever|there was plastic in my {p}|the package was open|I found mold on the {p}|your staff was rude
the {p} fell apart|I want to complain about {p}|the {p} made me sick|bad quality {p}|this {p} does not work
the price of {p} was wrong on my receipt|customer service never answers|the delivery never came
my {p} was cracked when I opened the box|the {p} smells bad|I got the wrong size of {p}
the {p} stopped working
very disappointed with {b} {p}|the {p} was stale|the bottle of {p} was half empty|I will not shop here again
the {p} was rotten|return this faulty {p}, it is useless|you overcharged me for {p}|only part of my order came
an insect was in the {p}|the {p} ruined my clothes|my {p} is dead
the website took my money and no {p} came""",
    OUT_OF_SCOPE: """
what are your opening hours|when do you open tomorrow|is the shop open today|where is your store
how do I get to the store
do you have a car park|are there toilets in the store|what is your phone number
how can I contact support by mail
how do I cook {p}|recipe with {p}|how long do I boil {p}|how do you make {p}|how is {p} produced
who invented {p}
is {p} healthy|how many calories are in {p}|how do I store {p}|can I freeze {p}|is {p} bad for dogs
where does {p} come from
how do I remove a {p} stain|how do I clean {p}|what is {p} called in Spanish|what does {p} mean|history of {p}
how do I grow {p}|what goes well with {p} in a dish|can cats eat {p}|is {p} safe in pregnancy|how do I use {p}
change my password|log me out|delete my account|update my email address|change my address|close my membership
how do I pay|do you accept credit cards|can I pay in cash|is my card information safe
what is your privacy policy
do you deliver to my city|how much is shipping|what is your refund policy|how do returns work
how do I track a parcel
are you hiring|how much do cashiers earn|apply for a job|who owns this company|when was the company founded
what is your share price|do you donate to charity|how do I sell my products in your store|who is the manager
what's the weather today|will it rain tomorrow|tell me a joke|what time is it|who is the president|sing a song
what is the capital of France|how tall is Mount Everest|who won the game|translate hello to German
what is 7 times 8
write an email for me|set an alarm for six|call my wife|turn on the lights|book a flight to Paris|order a taxi
recommend a film|what should I watch|what is the news|how do I learn piano|how do I fix a flat tire|play jazz
how do I lose weight|why do I have a headache|what vitamins should I take|how much sleep do I need
hello|hi|thank you|goodbye|how are you|who are you|are you human|what is your name|good evening|sorry
how do I renew my passport|what is the tax rate|how do I get a loan|what is a mortgage
how does the stock market work
why is grass green|how do birds fly|what is gravity|when was the second world war|how many planets are there
what is the best age to have children|how do I tie a tie|how do I train my dog|how do I wash wool
how do I hang a picture
qwerty asdf|xxyyzz|lorem ipsum dolor|blah blah|hjkl uiop|do you have wifi|can I bring my child
is there a pharmacy inside
do you recycle|is your packaging sustainable|what does fair trade mean|what is organic farming
what does kosher mean
how do bar codes work|how heavy is a gallon of water|how many grams in an ounce|convert cups to milliliters
what day is Thanksgiving|when is the next holiday|do you close on public holidays
how late are you open on Friday
why are prices rising|what is inflation|how do supermarkets make money|how many stores do you have
what car should I drive""",
}

_ZH = {
    "browse": """
看看{c}|有哪些{c}|浏览{c}|我想逛逛{c}|带我去{c}区|{c}有什么新品|列出所有{c}|随便看看|打开{c}分类|{c}都有哪些种类
你们卖什么|有哪些分类|最受欢迎的{c}|推荐一些{c}|大家都买什么{c}|{c}专区|全部{c}|我还没想好买什么|逛一逛
这个月有什么新品|送爸爸什么礼物好|{p}有哪些品牌|{p}有几种|展示{c}|有什么值得买的{c}|热卖的{c}|进{c}看看
午餐买点什么好|{c}有什么好东西|想看看你们的{c}|{c}里都有些什么|有啥新鲜的|介绍一下{c}|最近流行什么""",
    "search": """
{p}|{b}{p}|有机{p}|便宜的{p}|我想买{p}|我要{p}|有{p}吗|找{p}|买{p}|哪里有{p}|我想买一款便宜的{p}|大包{p}|新鲜的{p}
无糖{p}|帮我找{b}的{p}|给我来点{p}|儿童{p}|十块钱以内的{p}|低脂{p}|有没有{p}卖|需要{p}|一箱{p}|小瓶的{p}
{p}在哪儿|适合老人的{p}|家庭装{p}|把{p}加到购物车|家里{p}用完了|{p}和{q}|敏感肌用的{p}|不含酒精的{p}|五百克{p}
质量好的{p}|我需要一些{p}|你们有{b}{p}吗|想找一个好用的{p}|红色的{p}|不辣的{p}|两升的{p}|来一包{p}""",
    "compare": """
{p}和{q}哪个好|比较{p}和{q}|{p}跟{q}有什么区别|哪种{p}更划算|{p}还是{q}|对比一下{p}和{q}|{b}的{p}比别的好吗
这两款{p}有什么不同|买{p}好还是买{q}好|哪个{p}更便宜|{p}比{q}健康吗|哪款{p}性价比高|{p}与{q}的优缺点
大包{p}和小包{p}哪个合算|这几种{p}怎么选|哪个牌子的{p}好|{p}和{q}的差别|贵的{p}值得买吗跟便宜的比
帮我在{p}和{q}之间选一个|哪种{p}含糖更少|两种{p}谁更耐用|{b}和其他牌子的{p}相比怎么样|{p}对比{q}
这个{p}比那个{p}强在哪|选{p}还是选{q}|{p}和{q}哪一种口感更好|把这些{p}从好到差排一下|{p}跟{q}比价格""",
    "deal": """
{p}打折吗|{p}有优惠吗|{c}的优惠券|今天有什么特价|本周促销|{p}买一送一|清仓{c}|有优惠码吗|{c}有什么活动
{p}什么时候降价|半价{p}|会员价的{p}|满减活动|哪些{c}在打折|限时抢购|{b}有折扣吗|特价{p}|秒杀|代金券怎么用在{p}上
节日促销{c}|买两件{p}便宜吗|最划算的{c}优惠|第二件半价|今日特惠|{p}降价了吗|省钱的{c}|促销商品有哪些|返现的{p}
买三个{p}有折扣吗|{c}处理价|积分能抵{p}的钱吗|{p}有没有券|年终大促|打八折的{c}|便宜处理的{c}|快到期的优惠""",
    "similar": """
类似{b}{p}的|跟{p}差不多的|{p}的替代品|代替{p}|和这个相似的|还有没有像{p}这样的|同类的{p}|找相似的{c}
我喜欢{p}，还有什么推荐|{p}卖完了，有什么可以替换|更多这样的|跟这款{p}相近的|其他牌子的类似{p}|{b}的平替
比这个便宜的同款{p}|{p}可以用什么代替|同样口味的{p}|像我上次买的{p}|风格接近的{p}|素食的{p}替代品|同类型的{p}
有没有和{b}一样的{p}|相似的商品|与{p}类似的产品|除了{b}还有哪些类似的|换一种差不多的{p}|长得像这个的{p}
买不到{p}，用什么替代|跟我常用的{p}一样的|差不多款式的{p}|再来几个像这样的|可以替换{p}的东西""",
    "complaint": """
{p}坏了|收到的{p}是破的|我要退{p}的钱|{p}变质了|你们发错了{p}|订单少了{p}|{p}质量太差|{p}过期了|我要投诉
多收了我的钱|{p}不能用|服务态度不好|包装破了|{p}发霉了|{p}里有虫子|送货太慢了|{p}漏了|{p}味道不对
我对{p}很不满意|吃了{p}肚子疼|{p}价格和标价不一样|客服不理人|{p}碎了|{p}是假的|再也不来你们店了|{p}缺斤少两
{p}打不开|{p}用了一次就坏|快递一直没到|给我发的{p}尺寸不对|垃圾{p}|{p}臭了|{p}烂了|退货，{p}有问题|{p}没电
{p}把衣服弄坏了|钱扣了没发货|盒子是空的|{p}不新鲜|{p}里面有头发|你们的{p}太让人失望|收银员很粗鲁""",
    OUT_OF_SCOPE: """
你们几点开门|今天营业吗|店在哪里|怎么去你们店|有停车场吗|有厕所吗|电话是多少|怎么联系人工客服|门店地址
{p}怎么做|{p}的做法|{p}要煮多久|{p}是怎么生产的|谁发明了{p}|{p}健康吗|{p}有多少卡路里|{p}怎么保存|{p}能冷冻吗
狗能吃{p}吗|{p}产自哪里|{p}的污渍怎么洗|怎么清洗{p}|{p}用英语怎么说|{p}是什么意思|{p}的历史|怎么种{p}
孕妇能吃{p}吗|{p}怎么用|{p}配什么菜好吃|{p}对身体有什么好处|{p}为什么这么贵|猫可以吃{p}吗
修改密码|退出登录|注销账户|改邮箱|改地址|取消会员|怎么付款|可以刷卡吗|收现金吗|隐私政策|我的银行卡安全吗
送货到我们城市吗|运费多少|退款政策是什么|怎么退货|怎么查快递|你们招人吗|工资多少|应聘|公司是谁的|公司哪年成立
股价多少|你们捐款吗|怎么入驻你们平台|店长是谁|今天天气|明天下雨吗|讲笑话|现在几点|总统是谁|唱首歌
法国首都是哪里|珠峰多高|谁赢了比赛|翻译你好|七乘八等于多少|写封邮件|定六点的闹钟|给老婆打电话|开灯|订机票|打车
推荐一部电影|有什么新闻|怎么学钢琴|怎么补轮胎|怎么减肥|为什么头疼|吃什么维生素|要睡几个小时|放音乐
你好|嗨|谢谢|再见|你是谁|你叫什么名字|你是真人吗|晚上好|对不起|怎么办护照|税率是多少|怎么贷款|房贷怎么算|什么是股票
草为什么是绿的|鸟怎么飞|什么是重力|二战是哪年|有几颗行星|怎么打领带|怎么训练狗|毛衣怎么洗|怎么挂画
啊啊啊啊|哈哈哈|嗯嗯|有无线网吗|可以带孩子吗|里面有药店吗|回收垃圾吗|什么是公平贸易|什么是有机农业
一加仑水多重|一盎司多少克|春节是哪天|下个假期什么时候|公共假期关门吗|周五营业到几点|物价为什么上涨|超市怎么赚钱
你们有几家店|开什么车好|怎么哄孩子睡觉|怎么写作文|人生的意义是什么|世界上最长的河|什么时候种菜|怎么坐公交去
给狗起个名字|附近有银行吗|日元汇率|怎么换灯泡|怎么叠衣服|去哪里旅游好|怎么种花|炒菜放多少盐|地球多大|怎么养鱼""",
}

_PRODUCTS_EN = (
    "milk|cheddar cheese|tortilla chips|laundry detergent|shampoo|dog food|frozen pizza|bananas|"
    "ground beef|coffee beans|toilet paper|phone|orange juice|peanut butter|batteries|baby formula|"
    "toothpaste|tomato soup|ice cream|rice|hand cream|candles|beer|chicken breast|"
    "yogurt|headphones|light bulbs|crackers|salad dressing|lipstick|cat litter|energy drink|"
    "dishwasher tablets|olive oil|blanket|notebook|strawberries|sausages|tea bags|razor"
)
_PRODUCTS_ZH = (
    "牛奶|奶酪|薯片|洗衣粉|洗发水|狗粮|冷冻披萨|香蕉|牛肉馅|咖啡豆|卫生纸|手机|橙汁|花生酱|电池|奶粉|牙膏|番茄汤|冰淇淋|大米|"
    "护手霜|蜡烛|啤酒|鸡胸肉|酸奶|耳机|灯泡|饼干|沙拉酱|口红|猫砂|功能饮料|洗碗块|橄榄油|毯子|笔记本|草莓|香肠|茶包|剃须刀"
)
_CATEGORIES_EN = (
    "snacks|dairy|frozen food|fruit|meat|drinks|cleaning supplies|pet food|baby products|cosmetics|electronics|"
    "bread|breakfast|toys|wine|household goods|canned food|health products|phones|garden"
)
_CATEGORIES_ZH = (
    "零食|乳制品|冷冻食品|水果|肉类|饮料|清洁用品|宠物用品|母婴用品|化妆品|电子产品|"
    "面包|早餐|玩具|酒类|家居用品|罐头|保健品|手机|园艺"
)
_BRANDS_EN = "Kraft|Nestle|Pantene|Sony|Heinz|Colgate|Pepsi|Dove|Samsung|Kellogg's"
_BRANDS_ZH = "雀巢|海飞丝|索尼|亨氏|高露洁|百事|多芬|三星|蒙牛|康师傅"

_SLOTS = {
    "en": {"p": _PRODUCTS_EN, "q": _PRODUCTS_EN, "c": _CATEGORIES_EN, "b": _BRANDS_EN},
    "zh": {"p": _PRODUCTS_ZH, "q": _PRODUCTS_ZH, "c": _CATEGORIES_ZH, "b": _BRANDS_ZH},
}


def templates(language: str, intent: str) -> list[str]:
    """The templates of one intent in one of ``LANGUAGES``."""
    return [part for part in re.split(r"[|\n]", {"en": _EN, "zh": _ZH}[language][intent]) if part]


def product_names() -> list[str]:
    """Products as people name them, in every language."""
    return [name for slots in _SLOTS.values() for name in slots["p"].split("|")]


def training_phrasings(copies: int, seed: int) -> tuple[list[str], list[int]]:
    """Fill the templates.

    Args:
        copies: times that a template with places is filled; one without is used once.
        seed: of the draw.

    Returns:
        Distinct phrasings, and the position in ``INTENTS`` of each.
    """
    generator = np.random.default_rng(seed)
    labels: dict[str, int] = {}
    for language in LANGUAGES:
        for label, intent in enumerate(INTENTS):
            for template in templates(language, intent):
                for phrasing in _filled(template, _SLOTS[language], copies, generator):
                    labels.setdefault(phrasing, label)
    return list(labels), list(labels.values())


def named(phrasings: list[str], labels: list[int], names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Phrasings with names of products added, which are searched for as they are.

    Args:
        phrasings: distinct.
        labels: the position in ``INTENTS`` of each.
        names: as shoppers type them; what is among the phrasings already stays what it is there.
    """
    known = set(phrasings)
    new = [name for name in dict.fromkeys(names) if name not in known]
    return [*phrasings, *new], [*labels, *[INTENTS.index(SEARCH)] * len(new)]


def _filled(template: str, slots: dict[str, str], copies: int, generator: np.random.Generator) -> Iterator[str]:
    if "{" not in template:
        yield template
        return
    for _ in range(copies):
        yield template.format(**{name: generator.choice(values.split("|")) for name, values in slots.items()})
