package notes

var processes []Note
