"""TeX commands that an untrusted formula may use: those that cannot take more room than their text does.

Commands that take a length, a number or a colour have a shape, and their lengths are added up. A command that is not
listed here may load code, make links, define macros, or draw a box of any size.
"""

import re

#: The most that all lengths of a formula may add up to, in ems.
_MAX_LENGTH = 30.0
_EMS = {
    "em": 1.0,
    "ex": 0.5,
    "mu": 1 / 18,
    "px": 1 / 16,
    "pt": 0.1,
    "pc": 1.2,
    "mm": 0.25,
    "cm": 2.5,
    "in": 6.0,
}

_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.S)
_LENGTH = r"[-+]?\s*(?:\d{1,9}(?:[.,]\d{0,9})?|[.,]\d{1,9})\s*(?:em|ex|mu|px|pt|pc|mm|cm|in)(?![A-Za-z])"
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:[.,]\d*)?|[.,]\d+)\s*([a-z]{2})")
_GROUPED_LENGTH = rf"\s*\{{\s*{_LENGTH}\s*\}}"
_DIMENSION = rf"\s*(?:{_LENGTH}|\{{\s*{_LENGTH}\s*\}})"
_OPTIONAL_LENGTH = rf"(?:\s*\[\s*{_LENGTH}\s*\])?"
_NO_OPTION = r"(?!\s*\[)"
_NO_LENGTH = r"(?!\*?\s*\[[-+\s]*[\d.,]+\s*(?:em|ex|mu|px|p[tc]|mm|cm|in|bp|dd|cc|n[dc]|sp)(?![A-Za-z]))"
_DELIMITER = r"\s*(?:\{(?:\\[{}|]|\\[A-Za-z]+\s*|[^{}\\])?\}|\\[{}|]|[^\s{}\\A-Za-z0-9])"
_COLOUR = r"(?:\s*\[[A-Za-z]{1,10}\])?\s*\{[#\w ,.!-]{1,40}\}"
_SHORT = r"(?:\s*\[[tb]\])?\s*(?:\{[^{}\\]{0,20}\}|[^\s{}\\])"
_SMALL_NUMBER = r"\s*(?:\{\s*-?\d{1,2}\s*\}|\d(?!\d))"

_COLUMN = (
    rf"[lcr|:\s]|[pmb]{_GROUPED_LENGTH}|[@!]\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}}|\*\{{\d\}}\{{[lcr|]{{1,4}}\}}"
)
_PLAIN_ENVIRONMENTS = (
    "align aligned bmatrix Bmatrix bsmallmatrix Bsmallmatrix cases CD dcases displaymath drcases eqnarray equation"
    " flalign gather gathered math matrix multline pmatrix psmallmatrix rcases smallmatrix split vmatrix Vmatrix"
    " vsmallmatrix Vsmallmatrix"
)
_BEGIN = (
    rf"\s*\{{(?:(?:{'|'.join(_PLAIN_ENVIRONMENTS.split())})\*?\}}{_NO_LENGTH}"
    rf"|array\}}\s*(?:\[[tbc]\])?\s*\{{(?:{_COLUMN})*\}}"
    r"|subarray\}\s*\{[lcr]\}"
    rf"|align(?:at\*?|edat)\}}\s*(?:\[[tbc]\])?{_SMALL_NUMBER})"
)

#: What must follow a command; each length in it counts.
_SHAPES = {
    name: re.compile(shape)
    for names, shape in (
        ("begin", _BEGIN),
        ("end", r"\s*\{[A-Za-z]{1,20}\*?\}"),
        ("\\ newline", rf"\*?\s*\[\s*{_LENGTH}\s*\]|{_NO_LENGTH}"),
        ("hspace mspace", _GROUPED_LENGTH),
        ("hskip mskip kern mkern raise lower moveleft moveright above", _DIMENSION),
        ("rule", _OPTIONAL_LENGTH + _DIMENSION + _DIMENSION),
        ("genfrac", rf"{_DELIMITER}{{2}}\s*\{{\s*(?:{_LENGTH}\s*)?\}}"),
        ("color textcolor colorbox", _COLOUR),
        ("fcolorbox", _COLOUR + _COLOUR),
        ("cancel bcancel xcancel cancelto overbracket underbracket shoveleft shoveright", _NO_OPTION),
        ("smash llap rlap clap mathllap mathrlap mathclap", _SHORT),
        ("uproot leftroot", _SMALL_NUMBER),
    )
    for name in names.split()
}

_COMMAND_NAMES = """
Aboxed acute adjustlimits aleph alpha amalg And angle approx approxeq arccos arcsin arctan arg argmax
argmin array Arrowvert arrowvert ast asymp atop atopwithdelims backepsilon backprime backsim backsimeq
backslash bar barwedge Bbb Bbbk bbFont because beta beth between bf Big big bigcap bigcirc bigcup Bigg
bigg Biggl biggl Biggm biggm Biggr biggr Bigl bigl Bigm bigm bigodot bigoplus bigotimes Bigr bigr bigsqcup
bigstar bigtimes bigtriangledown bigtriangleup biguplus bigvee bigwedge binom blacklozenge blacksquare
blacktriangle blacktriangledown blacktriangleleft blacktriangleright bm bmod bold boldsymbol bot bowtie
Box boxdot boxed boxminus boxplus boxtimes Bra bra brace bracevert brack Braket braket breve buildrel
bullet Bumpeq bumpeq cal Cap cap cases cdot cdotp cdots ce centercolon centerdot centernot centerOver
cfrac check checkmark chi choose circ circeq circlearrowleft circlearrowright circledast circledcirc
circleddash circledR circledS clubsuit colon Colonapprox colonapprox Coloneq coloneq Coloneqq coloneqq
Colonsim colonsim complement cong coprod cos cosh cot coth cr cramped crampedsubstack csc Cup cup
curlyeqprec curlyeqsucc curlyvee curlywedge curvearrowleft curvearrowright dagger daleth dashleftarrow
dashrightarrow dashv dbinom dblcolon ddagger ddddot dddot ddot ddots deg degree Delta delta det dfrac
diagdown diagup Diamond diamond diamondsuit digamma dim displaylimits displaylines displaystyle div
divideontimes dot Doteq doteq doteqdot dotplus dots dotsb dotsc dotsi dotsm dotso doublebarwedge doublecap
doublecup Downarrow downarrow downdownarrows downharpoonleft downharpoonright ell emptyset enspace epsilon
eqalign eqalignno eqcirc Eqcolon eqcolon Eqqcolon eqqcolon eqref eqsim eqslantgtr eqslantless equiv eta
eth exists exp fallingdotseq fbox Finv flat forall frac frak frown Game Gamma gamma gcd ge geq geqq
geqslant gets gg ggg gggtr gimel gnapprox gneq gneqq gnsim grave gt gtrapprox gtrdot gtreqless gtreqqless
gtrless gtrsim gvertneqq hat hbar hbox hdashline heartsuit hfil hfill hfilll hline hom hookleftarrow
hookrightarrow hphantom hslash Huge huge idotsint iff iiiint iiint iint Im imath impliedby implies in inf
infty injlim int intercal intop iota it jmath Join kappa ker Ket ket Ketbra ketbra Lambda lambda land
langle LARGE Large large LaTeX lbrace lbrack lceil ldotp ldots le leadsto left Leftarrow leftarrow
leftarrowtail leftharpoondown leftharpoonup leftleftarrows Leftrightarrow leftrightarrow leftrightarrows
leftrightharpoons leftrightsquigarrow leftthreetimes leq leqalignno leqq leqslant lessapprox lessdot
lesseqgtr lesseqqgtr lessgtr lesssim lfloor lg lgroup lhd lim liminf limits limsup ll llcorner Lleftarrow
lll llless lmoustache ln lnapprox lneq lneqq lnot lnsim log Longleftarrow longleftarrow Longleftrightarrow
longleftrightarrow longleftrightarrows longLeftrightharpoons longmapsto Longrightarrow longrightarrow
longRightleftharpoons longrightleftharpoons looparrowleft looparrowright lor lozenge lparen lrcorner Lsh
lt ltimes lVert lvert lvertneqq maltese mapsto mathbb mathbf mathbfcal mathbffrak mathbfit mathbfscr
mathbfsf mathbfsfit mathbfsfup mathbfup mathbin mathcal mathclose mathfrak mathinner mathit mathnormal
mathop mathopen mathord mathpunct mathrel mathring mathrm mathscr mathsf mathsfit mathsfup mathstrut
mathtt mathup matrix max mbox measuredangle mho mid middle min mit mod models mp MTThinColon mu multimap
nabla natural ncong ndownarrow ne nearrow neg negmedspace negthickspace negthinspace neq nexists ngeq
ngeqq ngeqslant ngtr ni nLeftarrow nleftarrow nLeftrightarrow nleftrightarrow nleq nleqq nleqslant nless
nmid nobreakspace nolimits nonscript nonumber normalsize not notag notin nparallel nprec npreceq
nRightarrow nrightarrow nshortmid nshortparallel nsim nsubseteq nsubseteqq nsucc nsucceq nsupseteq
nsupseteqq ntriangleleft ntrianglelefteq ntriangleright ntrianglerighteq nu nuparrow nVDash nVdash nvDash
nvdash nwarrow odot of oint oldstyle Omega omega omicron ominus operatorname oplus ordinarycolon oslash
otimes over overbrace overleftarrow overleftrightarrow overline overparen overrightarrow overset
overunderset overwithdelims owns parallel partial perp phantom Phi phi Pi pi pitchfork pm pmatrix pmb pmod
pod Pr prec precapprox preccurlyeq preceq precnapprox precneqq precnsim precsim prescript prime prod
projlim propto Psi psi pu qquad quad rangle rbrace rbrack rceil Re ref relax restriction rfloor rgroup rhd
rho right Rightarrow rightarrow rightarrowtail rightharpoondown rightharpoonup rightleftarrows
rightleftharpoons rightrightarrows rightsquigarrow rightthreetimes risingdotseq rm rmoustache root rparen
Rrightarrow Rsh rtimes rVert rvert S scr scriptscriptstyle scriptsize scriptstyle searrow sec Set set
setminus sf sharp shortmid shortparallel shortvdotswithin sideset Sigma sigma sim simeq sin sinh small
smallfrown smallint smallsetminus smallsmile smile space spadesuit sphericalangle splitdfrac splitfrac
sqcap sqcup sqrt sqsubset sqsubseteq sqsupset sqsupseteq square stackbin stackrel star strut Subset subset
subseteq subseteqq subsetneq subsetneqq substack succ succapprox succcurlyeq succeq succnapprox succneqq
succnsim succsim sum sup Supset supset supseteq supseteqq supsetneq supsetneqq surd swarrow symbb symbf
symbfcal symbffrak symbfit symbfscr symbfsf symbfsfit symbfsfup symbfup symcal symfrak symit symnormal
symrm symscr symsf symsfit symsfup symtt symup tag tan tanh tau tbinom TeX text textbf textdegree textit
textnormal textrm textsf textstyle texttt textup tfrac therefore Theta theta thickapprox thicksim
thinspace tilde times Tiny tiny to top triangle triangledown triangleleft trianglelefteq triangleq
triangleright trianglerighteq tripledash tt twoheadleftarrow twoheadrightarrow ulcorner underbar
underbrace underleftarrow underleftrightarrow underline underparen underrightarrow underset unlhd unrhd
upalpha Uparrow uparrow upbeta upchi updelta Updownarrow updownarrow upepsilon upeta upgamma upharpoonleft
upharpoonright upiota upkappa uplambda uplus upmu upnu upomega upomicron upphi uppi uppsi uprho upsigma
Upsilon upsilon uptau uptheta upuparrows upupsilon upvarepsilon upvarphi upvarpi upvarrho upvarsigma
upvartheta upxi upzeta urcorner varDelta varepsilon varGamma varinjlim varkappa varLambda varliminf
varlimsup varnothing varOmega varPhi varphi varPi varpi varprojlim varpropto varPsi varrho varSigma
varsigma varsubsetneq varsubsetneqq varsupsetneq varsupsetneqq varTheta vartheta vartriangle
vartriangleleft vartriangleright varUpsilon varXi vcenter Vdash vDash vdash vdots vdotswithin vec vee
veebar verb Vert vert vphantom Vvdash wedge widehat widetilde wp wr xhookleftarrow xhookrightarrow Xi xi
xLeftarrow xleftarrow xleftharpoondown xleftharpoonup xLeftrightarrow xleftrightarrow xLeftrightharpoons
xleftrightharpoons xlongequal xmapsto xRightarrow xrightarrow xrightharpoondown xrightharpoonup
xRightleftharpoons xrightleftharpoons xtofrom xtwoheadleftarrow xtwoheadrightarrow yen zeta
"""
_COMMANDS = frozenset(_COMMAND_NAMES.split())


def is_bounded(tex: str) -> bool:
    """Return True if the formula has allowed commands only, and its lengths add up to a few lines or words."""
    total = 0.0
    for command in _COMMAND.finditer(tex):
        name = command[1]
        shape = _SHAPES.get(name)
        if shape is None:
            if name[0].isalpha() and name not in _COMMANDS:
                return False
            continue
        arguments = shape.match(tex, command.end())
        if arguments is None:
            return False
        total += sum(
            float(number.replace(",", ".")) * _EMS[unit]
            for number, unit in _NUMBER_AND_UNIT.findall(arguments[0])
            if unit in _EMS
        )
    return total <= _MAX_LENGTH
