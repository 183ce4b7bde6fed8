"""The page: one offline HTML file that draws what a join found. Its script is made from `page/` by esbuild."""

from k8strace.page.document import Options, comparison_page, page_of
from k8strace.page.widget import widget_of

__all__ = ["Options", "comparison_page", "page_of", "widget_of"]
