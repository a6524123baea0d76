"""`leadline report`: records → one page that says what was asked, run and found.

No part of it needs torch, the cells or the network. docs/report.md tells what the page says.
"""

from leadline.report.write import headline, write_report

__all__ = ["headline", "write_report"]
