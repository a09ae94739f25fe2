"use strict";
// Filters and orders what belongs to a class, in all sections at once. Without it everything is shown.
const filter = document.getElementById("filter");
const order = document.getElementById("order");
const said = document.getElementById("said");
const options = new Map([...filter.options].map((option) => [option.value, option]));
const lists = [...document.querySelectorAll("[data-by-class]")].map((list) => ({ list, listed: [...list.children] }));

function show() {
  for (const element of document.querySelectorAll("[data-class]")) {
    element.hidden = filter.value !== "" && !element.dataset.class.split(" ").includes(filter.value);
  }
  say();
}

function compare(first, second) {
  const [a, b] = [first, second].map((element) => options.get(element.dataset.class).dataset[order.value]);
  return order.value === "name" ? a.localeCompare(b) : value(a) - value(b);
}

function value(text) {
  return text === "" ? Number.MAX_VALUE : Number(text); // what is not known goes last
}

function arrange() {
  for (const { list, listed } of lists) {
    list.append(...(order.value === "" ? listed : [...listed].sort(compare)));
  }
  say();
}

function say() {
  said.textContent = filter.value === "" ? "" : `only ${options.get(filter.value).textContent}`;
}

for (const key of ["labels", "bias", "ap"]) {
  const known = [...filter.options].some((option) => option.dataset[key]);
  order.querySelector(`[value=${key}]`).disabled = !known;
}
filter.addEventListener("change", show);
order.addEventListener("change", arrange);
document.getElementById("tools").hidden = false;
show(); // a browser may have kept the choice of the last visit
arrange();
