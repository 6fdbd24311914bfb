"""The columns of the three raw tables and how their values are read."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How the values of a raw column are read. The model takes articles' ids, codes and categories as inputs."""

    ARTICLE = "article id"  # H&M's: text of 10 digits; integers get their leading zeros back
    CUSTOMER = "customer id"  # H&M's: text of 64 hexadecimal digits
    ID = "id"  # another shop's: any text, kept as it is
    CODE = "whole number"  # nullable Int32
    CATEGORY = "category"  # text
    NUMBER = "number"  # float32, finite, nan where empty or unreadable
    SMALL = "small whole number"  # int8, 0 where empty or unreadable
    DATE = "date"  # datetime64[s], NaT where empty or unreadable
    TEXT = "text"  # for display, such as the name of a code


# The columns that have rules of their own.
ARTICLE_ID, PRODUCT_CODE, CUSTOMER_ID, POSTAL_CODE = "article_id", "product_code", "customer_id", "postal_code"
AGE, FN, ACTIVE = "age", "FN", "Active"
T_DAT, PRICE, CHANNEL = "t_dat", "price", "sales_channel_id"
# Ids become row numbers of the articles and of the customers.
ARTICLE, CUSTOMER = "article", "customer"

ARTICLE_COLUMNS = {
    ARTICLE_ID: Kind.ARTICLE,
    PRODUCT_CODE: Kind.CODE,
    "prod_name": Kind.TEXT,
    "product_type_no": Kind.CODE,
    "product_type_name": Kind.TEXT,
    "product_group_name": Kind.CATEGORY,
    "graphical_appearance_no": Kind.CODE,
    "graphical_appearance_name": Kind.TEXT,
    "colour_group_code": Kind.CODE,
    "colour_group_name": Kind.TEXT,
    "perceived_colour_value_id": Kind.CODE,
    "perceived_colour_value_name": Kind.TEXT,
    "perceived_colour_master_id": Kind.CODE,
    "perceived_colour_master_name": Kind.TEXT,
    "department_no": Kind.CODE,
    "department_name": Kind.TEXT,
    "index_code": Kind.CATEGORY,
    "index_name": Kind.TEXT,
    "index_group_no": Kind.CODE,
    "index_group_name": Kind.TEXT,
    "section_no": Kind.CODE,
    "section_name": Kind.TEXT,
    "garment_group_no": Kind.CODE,
    "garment_group_name": Kind.TEXT,
    "detail_desc": Kind.TEXT,
}
CUSTOMER_COLUMNS = {
    CUSTOMER_ID: Kind.CUSTOMER,
    FN: Kind.NUMBER,
    ACTIVE: Kind.NUMBER,
    "club_member_status": Kind.CATEGORY,
    "fashion_news_frequency": Kind.CATEGORY,
    AGE: Kind.NUMBER,
    POSTAL_CODE: Kind.CATEGORY,
}
TRANSACTION_COLUMNS = {
    T_DAT: Kind.DATE,
    CUSTOMER_ID: Kind.CUSTOMER,
    ARTICLE_ID: Kind.ARTICLE,
    PRICE: Kind.NUMBER,
    CHANNEL: Kind.SMALL,
}


def name_column(column: str) -> str:
    """The column with the names that belong to an article's column of numbers."""
    if column == PRODUCT_CODE:
        return "prod_name"
    for ending in ("_no", "_code", "_id"):
        column = column.removesuffix(ending)
    return f"{column}_name"
