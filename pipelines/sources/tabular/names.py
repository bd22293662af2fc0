"""What shops call their columns, in English, German, French, Spanish and Chinese: a draft's first guess."""

from __future__ import annotations

NAMES = {
    "event_id": (
        "event_id", "eventid", "line_id", "transaction_id", "position_id", "id_transaction", "id_transaccion",
        "交易编号",
    ),
    "user_id": (
        "user_id", "user", "customer_id", "customer", "client_id", "visitor_id", "household_id", "member_id",
        "kunde", "kunden_nr", "kundennummer", "kunden_id", "nutzer", "benutzer",
        "client", "id_client", "numero_client", "utilisateur",
        "cliente", "id_cliente", "usuario", "用户", "用户id", "用户编号", "客户", "客户编号", "会员编号",
    ),
    "item_id": (
        "item_id", "item", "product_id", "product", "sku", "article_id", "parent_asin", "asin", "movie_id",
        "artikel", "artikel_nr", "artikelnummer", "artikel_id", "produkt", "produkt_nr", "produktnummer",
        "article", "id_article", "produit", "id_produit", "reference",
        "articulo", "id_articulo", "producto", "id_producto", "商品id", "商品编号", "产品编号", "货号",
    ),
    "event_type": (
        "event_type", "event", "action", "type", "ereignis", "vorgang", "evenement", "evento", "accion", "行为", "事件",
        "行为类型", "事件类型",
    ),
    "timestamp": (
        "timestamp", "time", "datetime", "date", "created_at", "event_time", "ordered_at", "when", "t_dat",
        "bestelldatum", "datum", "zeitpunkt", "zeit", "kaufdatum", "date_commande", "date_achat", "horodatage",
        "fecha", "fecha_pedido", "fecha_compra", "时间", "日期", "下单时间", "订单时间", "购买时间",
    ),
    "quantity": (
        "quantity", "qty", "count", "amount", "rating", "units", "menge", "anzahl", "stueck", "stück", "quantite",
        "cantidad", "unidades", "数量",
    ),
    "price": (
        "price", "unit_price", "sales_value", "value", "einzelpreis", "stueckpreis", "stückpreis", "preis",
        "gesamtpreis", "betrag", "umsatz", "prix", "prix_unitaire", "montant", "precio", "precio_unitario", "importe",
        "价格", "单价", "金额",
    ),
    "session_id": (
        "session_id", "sessionid", "session", "order_id", "basket_id", "order", "invoice", "bestellung", "bestell_nr",
        "bestellnummer", "rechnungsnummer", "beleg", "bon", "commande", "id_commande", "numero_commande", "facture",
        "pedido", "id_pedido", "factura", "订单", "订单号", "订单编号",
    ),
    "channel": (
        "channel", "sales_channel_id", "store", "kanal", "filiale", "canal", "magasin", "tienda", "渠道", "门店",
    ),
    "query": (
        "query", "search", "search_term", "suchbegriff", "suche", "suchanfrage", "recherche", "requete", "busqueda",
        "consulta", "搜索词", "查询",
    ),
    "title": (
        "title", "name", "product_name", "prod_name", "bezeichnung", "titel", "artikelname", "produktname",
        "artikelbezeichnung", "titre", "nom", "libelle", "designation", "titulo", "nombre", "标题", "名称", "商品名称",
    ),
    "description": (
        "description", "detail_desc", "desc", "beschreibung", "artikelbeschreibung", "descripcion", "描述", "商品描述",
    ),
    "category": (
        "category", "categories", "genres", "product_category", "product_type", "category_name", "department",
        "warengruppe", "kategorie", "abteilung", "categorie", "rayon", "categoria", "familia", "类别", "分类", "类目",
    ),
    "brand": ("brand", "manufacturer", "vendor", "marke", "hersteller", "marque", "fabricant", "marca", "品牌"),
    "image": ("image", "image_url", "picture", "bild", "bild_url", "imagen", "图片"),
    "grade": ("grade", "relevance", "label", "relevanz", "note", "pertinence", "relevancia", "相关性"),
}  # fmt: skip
"""Usual names of what a table's columns hold, the likeliest first; accents, case and what parts words do not matter."""

BESIDE = {
    "address", "code", "e", "email", "id", "key", "mail", "name", "no", "nr", "num", "number", "numero", "nummer", "of",
    "ref", "the",
}  # fmt: skip
"""Words that may stand beside the one that tells."""
