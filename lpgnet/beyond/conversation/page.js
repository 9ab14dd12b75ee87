const audio = document.querySelector("audio");
const turns = [...document.querySelectorAll("li[data-start]")];
const svg = document.querySelector("#strip svg");
const now = document.getElementById("now");
let until = Infinity; // where a turn that is played by itself ends

function hear(start, end) {
  until = end;
  audio.currentTime = start;
  audio.play();
}

function mark() {
  const at = audio.currentTime;
  if (at >= until) {
    until = Infinity;
    audio.pause();
  }
  const x = audio.duration ? (1000 * at) / audio.duration : 0;
  now.setAttribute("x1", x);
  now.setAttribute("x2", x);
  for (const turn of turns) {
    turn.classList.toggle("now", at >= turn.dataset.start && at < turn.dataset.end);
  }
}

for (const turn of turns) {
  turn.addEventListener("click", () => {
    if (!String(getSelection())) hear(Number(turn.dataset.start), Number(turn.dataset.end)); // text can be copied
  });
}
svg.addEventListener("click", (event) => {
  const box = svg.getBoundingClientRect();
  hear((audio.duration * (event.clientX - box.left)) / box.width, Infinity);
});
audio.addEventListener("timeupdate", mark);
audio.addEventListener("seeking", () => {
  if (audio.currentTime > until) until = Infinity;
});
