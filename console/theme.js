// Before anything is drawn, so that a dark page never flashes light. 'auto' follows the system.
document.documentElement.dataset.theme = localStorage.getItem('stele-theme') ?? 'auto';
