"""NAT in the language of Cisco IOS: text -> statements -> what a router would hold, and back.

    words         a line without its prompt, diff mark and comment; where each word stands
    slots         what a word must be: an address, a mask, a port, a list, an interface (entries: of lists)
    grammar       command forms as a tree; one matcher, IOS's abbreviations, the place of the error
    commands      the table of command forms: parsed by it, printed by it
    model         what a router holds after all lines, as frozen values
    running       lines entered one after the other: `no`, repetition, conflicts
    reader        a whole text, line by line, with a word about each
    printer       the canonical form
    fidelity      is it the same on Linux, and by which rule
    mistakes      what people get wrong, as far as the text shows it
    oversights    lines that are right each, and together not what was meant
    show          outputs of `show ip nat ...`, read
    translations  the table of translations, from flows, text and allocator
    layout        that table as routers print it (counted: statistics and pools; asking: filters; rows: as plain values)
    explain       what becomes of a packet (hooks: of each hook; lookups, selecting: what they ask)
    history       who had which address when
    shell         the prompt as a machine (shell_grammar: its commands; shell_guide, shell_help: `?` and the tab key)

Printing and parsing again is identity; printing a parsed text is a fixed point. The reference for people is
`docs/reference/nat.md`.
"""
